/** Two sites in the lab of one: a gateway each, with a key of its own, and behind each a network with the same addresses. */
import { Effect } from "effect"
import * as StateStoreLive from "../../layers/host/StateStore.ts"
import { startNameServer } from "../../src/lab/demo/company.ts"
import { Lab, type LabHost } from "../../src/lab/demo/Lab.ts"
import { gatewayPort, startGateway, tunnelAddresses } from "../../src/lab/demo/tunnel.ts"
import { StateStore } from "../../src/host/StateStore.ts"
import { certificateAuthority } from "./certificates.ts"
import { gatewayConfig, inner } from "./lab.ts"
import { startPostgres } from "./postgres.ts"
import { site } from "./site.ts"
import { startWireguardGo } from "./wireguardGo.ts"

/** Of the one host in each site's private network. */
const privateHost = "10.0.5.7"

const sites = {
  berlin: { number: 0, gateway: "gateway", behind: "lan" },
  tokyo: { number: 1, gateway: "otherGateway", behind: "openClient" }
} as const
export type SiteName = keyof typeof sites
const names = Object.keys(sites) as ReadonlyArray<SiteName>

/** Both run, and `visitor` is connected to both by the file that `client-config` has printed in Berlin. */
export const startSites = Effect.gen(function* () {
  const lab = yield* Lab
  const { privateKey, publicKey: clientKey } = yield* lab.keyPair
  const keys = { berlin: yield* lab.keyPair, tokyo: yield* lab.keyPair }
  const authority = yield* certificateAuthority
  const certificate = yield* Effect.promise(() => authority.issue(`IP:${inner.dns.v4}`))
  const within = { namespace: lab.namespace("lan"), address: inner.dns.v4 }
  const [postgres, nameServer] = yield* Effect.all([startPostgres({ certificate, within }), startNameServer], {
    concurrency: 2
  })
  const database = yield* postgres.database
  const roots = yield* lab.writeFile("authority.pem", authority.cert)
  const endpoint = (name: SiteName) => `${site[sites[name].gateway].outer.v4}:${gatewayPort}`
  const entries = names.map(
    (name) =>
      `  ${name}: { number: ${sites[name].number}, endpoint: "${endpoint(name)}", public_key: "${keys[name].publicKey}" }`
  )
  const start = Effect.fnUntraced(function* (name: SiteName) {
    const { behind, gateway } = sites[name]
    yield* makePrivate(gateway, behind, name)
    yield* nameServer.set({ name: `app.${name}.internal`, a: [privateHost] })
    yield* Effect.scoped(
      Effect.flatMap(StateStore, (store) => store.putKeys({ privateKey: keys[name].privateKey, ending: null })).pipe(
        Effect.provide(StateStoreLive.layer(`${lab.directory}/${name}-state/state.db`), { local: true })
      )
    )
    const config = gatewayConfig({
      endpoint: site[gateway].outer.v4,
      clientKey,
      resources: names
        .map((at) => `  ${at}: { name: "*.${at}.internal", resolver: corp, allow: [visitor], site: ${at} }`)
        .join("\n"),
      more: `state: postgres://sallyport@${inner.dns.v4}:${postgres.port}/${database}?sslrootcert=${roots}
site: ${name}
sites:
${entries.join("\n")}`
    })
    return yield* startGateway({ config, host: gateway, name })
  })
  const [berlin, tokyo] = yield* Effect.all([start("berlin"), start("tokyo")], { concurrency: 2 })
  const program = [...lab.program("sallyport"), "client-config", "visitor", "--config", berlin.configPath]
  const conf = yield* lab.exec("gateway", program)
  const valuesOf = (key: string) => Array.from(conf.matchAll(new RegExp(`^${key} = (.*)$`, "gm")), ([, text]) => text!)
  const [servers = ""] = valuesOf("DNS")
  const [endpoints, publicKeys] = [valuesOf("Endpoint"), valuesOf("PublicKey")]
  const peers = valuesOf("AllowedIPs").map((networks, i) => ({
    publicKey: publicKeys[i]!,
    endpoint: endpoints[i]!,
    allowedIps: networks.split(", ")
  }))
  yield* startWireguardGo({
    host: "client",
    device: `wg${lab.id.split("-").slice(2).join("x")}`,
    privateKey,
    addresses: [`${tunnelAddresses.client.v4}/32`, `${tunnelAddresses.client.v6}/128`],
    routes: peers.flatMap(({ allowedIps }) => allowedIps),
    peers
  })
  return { postgres, gateways: { berlin, tokyo }, servers: servers.split(", ") }
})

/** A host behind the gateway at the address that each of them has, which says whose it is. */
const makePrivate = Effect.fnUntraced(function* (gateway: LabHost, behind: LabHost, says: string) {
  const lab = yield* Lab
  const ends = ["private", "netns", lab.namespace(gateway), "type", "veth", "peer", "name", "private", "netns"]
  yield* lab.exec(gateway, ["ip", "link", "add", ...ends, lab.namespace(behind)])
  for (const [host, address] of [
    [gateway, "10.0.5.1"],
    [behind, privateHost]
  ] as const) {
    yield* lab.exec(host, ["ip", "address", "add", `${address}/24`, "dev", "private"])
    yield* lab.exec(host, ["ip", "link", "set", "private", "up"])
  }
  const serve = `require("node:http").createServer((_, to) => to.end("${says}")).listen(80, "${privateHost}")`
  yield* lab.spawn(behind, [process.execPath, "-e", serve])
})
