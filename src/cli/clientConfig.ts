import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { clientConf } from "../config/clientConf.ts"
import { grantsOf } from "../config/GatewayConfig.ts"
import { ConfigError, quote } from "../config/problem.ts"
import { suggestFix } from "../config/suggest.ts"
import { parseKey } from "../config/values.ts"
import { configFlag } from "./configFlag.ts"
import { fetchStatus } from "./fetchStatus.ts"
import { HostNames } from "./HostNames.ts"
import { load } from "./load.ts"
import { switchFlag } from "./switchFlag.ts"

/** `sallyport client-config NAME`: the WireGuard file for one client. */
export const clientConfig = Command.make(
  "client-config",
  {
    name: Argument.String("name").pipe(Argument.withDescription("A client of the configuration")),
    config: configFlag,
    gatewayKey: Flag.String("gateway-key").pipe(
      Flag.withMetavar("<public key>"),
      Flag.withDescription("The gateway's public key (default: asked from the running gateway)"),
      Flag.optional
    ),
    ipv4: switchFlag("ipv4", "Leave IPv6 out, for a host that has none")
  },
  Effect.fnUntraced(function* ({ name, config: file, gatewayKey, ipv4 }) {
    const { readConfig } = yield* load(() => import("../config/readConfig.ts"))
    const config = yield* readConfig(file)
    const client = config.clients.find((client) => client.id === name)
    if (client === undefined) {
      const names = config.clients.map((client) => client.id)
      const fix = suggestFix(name, names, `add it to clients in ${file}`)
      return yield* new ConfigError({ message: `no client is called ${quote(name)} in ${file} — ${fix}` })
    }
    const key = yield* Option.isSome(gatewayKey) ? givenKey(gatewayKey.value) : askGateway(config.controlSocket)
    const endpoint = yield* (yield* HostNames).lookup(config.endpoint.host)
    if (endpoint.length === 0 && grantsOf(config, client.id).some(({ resource }) => resource.kind === "cidr")) {
      yield* Console.error(
        `sallyport: ${config.endpoint.host} does not resolve here: should one of the networks in AllowedIPs contain the gateway, take its address out by hand`
      )
    }
    yield* Console.log(clientConf(config, client, { gatewayPublicKey: key, endpoint, ipv4Only: ipv4 }).trimEnd())
  })
).pipe(Command.withDescription("Print the WireGuard file for a client; its private key is for the client to fill in"))

const givenKey = (text: string) =>
  Effect.mapError(
    Effect.fromResult(parseKey(text)),
    ({ cause, fix }) => new ConfigError({ message: `--gateway-key: ${cause} — ${fix}` })
  )

const askGateway = Effect.fnUntraced(function* (socketPath: string) {
  const report = yield* fetchStatus(socketPath).pipe(
    Effect.mapError(
      ({ message }) =>
        new ConfigError({ message: `the gateway's public key is unknown: ${message}; or give it with --gateway-key` })
    )
  )
  return report.gateway.publicKey
})
