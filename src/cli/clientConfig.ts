import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { clientConf } from "../config/clientConf.ts"
import { type ConfiguredClient, type GatewayConfig, rightsElsewhere, rightsIn } from "../config/GatewayConfig.ts"
import { ConfigError } from "../config/problem.ts"
import { maxSplitDomains, splitDomains } from "../config/splitDns.ts"
import { clientOf } from "./clientOf.ts"
import { configFlag } from "./configFlag.ts"
import { gatewayKeyFlag, gatewayKeyOf } from "./gatewayKey.ts"
import { HostNames } from "./HostNames.ts"
import { keyFromInput } from "./keyFromInput.ts"
import { Keys } from "./Keys.ts"
import { load } from "./load.ts"
import { qrCode } from "./qrCode.ts"
import { switchFlag } from "./switchFlag.ts"
import { UsageError } from "./usageError.ts"

/** `sallyport client-config NAME`: the WireGuard file for one client. */
export const clientConfig = Command.make(
  "client-config",
  {
    name: Argument.String("name").pipe(Argument.withDescription("A client of the configuration")),
    config: configFlag,
    gatewayKey: gatewayKeyFlag,
    ipv4: switchFlag("ipv4", "Leave IPv6 out, for a host that has none"),
    dns: Flag.Literals("dns", ["all", "split", "none"]).pipe(
      Flag.withDescription(
        "Which names are asked of the gateway: all (default); split: those behind it, by wg-quick on a host with systemd-resolved; none"
      ),
      Flag.withDefault("all")
    ),
    qr: switchFlag("qr", "Show it as a QR code for a phone; the client's private key comes on standard input")
  },
  Effect.fnUntraced(function* ({ name, config: file, gatewayKey, ipv4, dns, qr }) {
    if (qr && dns === "split") {
      return yield* new UsageError({
        message: "--dns split is for wg-quick on Linux, and --qr for a phone — leave one of them out"
      })
    }
    const { readConfig } = yield* load(() => import("../config/readConfig.ts"))
    const config = yield* readConfig(file)
    const client = yield* clientOf(config, name, file)
    const domains = dns === "split" ? config.search.length + splitDomains(config, client.id).length : 0
    if (domains > maxSplitDomains) {
      return yield* new ConfigError({
        message: `${name} has names in ${domains} domains, and systemd-resolved takes ${maxSplitDomains} — use --dns all`
      })
    }
    const privateKey = qr ? yield* privateKeyOf(client) : null
    const key = yield* gatewayKeyOf(gatewayKey, config.controlSocket)
    const own = config.sites?.own
    if (own !== undefined && own.publicKey !== key) {
      return yield* new ConfigError({
        message: `the key of site ${own.name} is ${key}, and ${file} has ${own.publicKey} — correct its public_key, in the files of all sites`
      })
    }
    const names = yield* HostNames
    const endpoint: Array<string> = []
    for (const { host } of config.sites?.all.map((site) => site.endpoint) ?? [config.endpoint]) {
      const found = yield* names.lookup(host)
      endpoint.push(...found)
      if (found.length === 0 && hasNetworks(config, client)) {
        yield* Console.error(
          `sallyport: ${host} does not resolve here: should one of the networks in AllowedIPs contain the gateway, take its address out by hand`
        )
      }
    }
    const conf = clientConf(config, client, {
      gatewayPublicKey: key,
      endpoint,
      ipv4Only: ipv4,
      dns,
      ...(privateKey === null ? {} : { privateKey })
    })
    yield* Console.log(qr ? yield* qrCode(conf) : conf.trimEnd())
  })
).pipe(Command.withDescription("Print the WireGuard file for a client; its private key is for the client to fill in"))

const hasNetworks = (config: GatewayConfig, { id }: ConfiguredClient): boolean => {
  const elsewhere = (config.sites?.all ?? []).flatMap((site) => rightsElsewhere(config, id, site))
  return [...rightsIn(config, id), ...elsewhere].some(({ resource }) => resource.kind === "cidr")
}

/** A phone takes no file without a key, so the client's comes from who has it. */
const privateKeyOf = Effect.fnUntraced(function* ({ id, publicKey }: ConfiguredClient) {
  const key = yield* keyFromInput(`sallyport client-config ${id} --qr < ${id}.key`)
  const other = yield* (yield* Keys).publicKey(key)
  if (other === publicKey) return key
  return yield* new ConfigError({
    message: `the private key on standard input is not that of ${id}: it belongs to ${other} — give it the one of ${publicKey}`
  })
})
