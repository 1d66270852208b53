/** The lab of a site: two gateways with one key, an address that is one gateway's at a time, and the site's PostgreSQL. */
import { Effect, Layer, Queue, Schedule, type Scope } from "effect"
import { cpSync } from "node:fs"
import * as StateStoreLive from "../../layers/host/StateStore.ts"
import * as LabLayer from "../../layers/lab/Lab.ts"
import type { StatusReport } from "../../src/cli/statusReport.ts"
import { type NameServer, startNameServer, startOrigins } from "../../src/lab/demo/company.ts"
import { Lab, labAddresses, LabError, type LabHost, type LabProcess } from "../../src/lab/demo/Lab.ts"
import { setNat } from "../../src/lab/demo/routers.ts"
import { type Gateway, gatewayPort, startGateway, tunnelAddresses } from "../../src/lab/demo/tunnel.ts"
import { certificateAuthority } from "./certificates.ts"
import { gatewayConfig, inner } from "./lab.ts"
import { type Postgres, startPostgres } from "./postgres.ts"
import { startWireguardGo, type WireguardGo, type WireguardGoError } from "./wireguardGo.ts"

export const { site } = labAddresses

/** Gives the test the lab of a site, of its own; the client's router translates and lets in who was written to. */
export const inSite = <A, E>(effect: Effect.Effect<A, E, Lab | Scope.Scope>): Effect.Effect<A, E | LabError> =>
  Effect.andThen(setNat("client", "restricted"), effect).pipe(
    Effect.scoped,
    Effect.provide(LabLayer.layerOf("site"), { local: true })
  )

export type SiteGateway = "gateway" | "otherGateway"
export type SiteClient = "client" | "openClient"

const tunnelOf = {
  client: tunnelAddresses.client,
  openClient: { v4: "100.64.0.3", v6: "fd00:2021:1111::3" }
} as const

interface SiteOptions {
  /** Default: no, and the LAN's way to clients is the gateway that has the site's address. */
  readonly masquerade?: boolean
}

/** What a client dials, and which client's key and addresses it has. */
interface Dials {
  readonly endpoint?: string
  readonly as?: SiteClient
}

interface Site {
  /** Of both gateways, without the places of each. */
  readonly config: string
  readonly postgres: Postgres
  /** The site's there. */
  readonly database: string
  readonly nameServer: NameServer
  /** Starts it, or starts it again with the state that it left. */
  readonly start: (
    gateway: SiteGateway,
    env?: Readonly<Record<string, string>>
  ) => Effect.Effect<Gateway, LabError, Lab | Scope.Scope>
  /** A stock client; by default it dials the address of the site. */
  readonly connect: (
    host: SiteClient,
    publicKey: string,
    dials?: Dials
  ) => Effect.Effect<WireguardGo, LabError | WireguardGoError, Lab | Scope.Scope>
}

/** Name server, origins and PostgreSQL; no gateway runs yet, none has a key, and none has the site's addresses. */
export const startSiteWithoutKey = Effect.fnUntraced(function* ({ masquerade = false }: SiteOptions = {}) {
  const lab = yield* Lab
  const keys = { client: yield* lab.keyPair, openClient: yield* lab.keyPair }
  const authority = yield* certificateAuthority
  const certificate = yield* Effect.promise(() => authority.issue(`IP:${inner.dns.v4}`))
  const within = { namespace: lab.namespace("lan"), address: inner.dns.v4 }
  const [postgres, nameServer] = yield* Effect.all(
    [startPostgres({ certificate, within }), startNameServer, startOrigins],
    { concurrency: 3 }
  )
  const database = yield* postgres.database
  const roots = yield* lab.writeFile("authority.pem", authority.cert)
  if (!masquerade) yield* lab.exec("lan", ["ip", "route", "add", "100.64.0.0/11", "via", site.virtual.inner])
  const config = gatewayConfig({
    endpoint: site.virtual.outer,
    clientKey: keys.client.publicKey,
    clients: `  open:
    public_key: "${keys.openClient.publicKey}"
    tunnel_ipv4: ${tunnelOf.openClient.v4}
    tunnel_ipv6: "${tunnelOf.openClient.v6}"`,
    resources: `  intranet: { name: app.corp.internal, resolver: corp, allow: [visitor, open] }
  services: { name: "*.svc.corp.internal", resolver: corp, allow: [visitor, open] }`,
    more: `masquerade: ${masquerade}
state: postgres://sallyport@${inner.dns.v4}:${postgres.port}/${database}?sslrootcert=${roots}`
  })
  const connect: Site["connect"] = (host, publicKey, { as = host, endpoint = site.virtual.outer } = {}) =>
    startWireguardGo({
      host,
      device: `wg${lab.id.split("-").slice(2).join("x")}${host.slice(0, 1)}`,
      privateKey: keys[as].privateKey,
      addresses: [`${tunnelOf[as].v4}/32`, `${tunnelOf[as].v6}/128`],
      routes: tunnelAddresses.networks,
      peers: [{ publicKey, allowedIps: tunnelAddresses.networks, endpoint: `${endpoint}:${gatewayPort}` }]
    })
  return {
    config,
    postgres,
    database,
    nameServer,
    start: (gateway, env = {}) => startGateway({ config, host: gateway, name: gateway, env }),
    connect
  } satisfies Site
})

/** The same, with one key at both gateways. */
export const startSiteOf = Effect.fnUntraced(function* (options: SiteOptions) {
  const { directory } = yield* Lab
  yield* oneKey(directory)
  return yield* startSiteWithoutKey(options)
})

/** The same, with the LAN's way to clients by the site's address. */
export const startSite = startSiteOf({})

/** As `sallyport backup` and `restore` carry it. */
const oneKey = (directory: string) =>
  Effect.andThen(
    Effect.scoped(Layer.build(StateStoreLive.layer(`${directory}/gateway-state/state.db`))),
    Effect.try({
      try: () => cpSync(`${directory}/gateway-state`, `${directory}/otherGateway-state`, { recursive: true }),
      catch: (error) => new LabError({ message: String(error) })
    })
  )

/** Waits, for 20 s at most, until the gateway says so. */
export const until = (gateway: Gateway, isSo: (report: StatusReport) => boolean) =>
  gateway.status.pipe(
    Effect.filterOrFail(
      isSo,
      (report) => new LabError({ message: JSON.stringify([report.site, report.clients, report.mappings]) })
    ),
    Effect.retry({ schedule: Schedule.spaced("50 millis"), times: 400 })
  )

/** Where the site's addresses were they are no more, and neighbours are told where they are now. */
export const giveAddress = Effect.fnUntraced(function* (to: SiteGateway) {
  yield* changeAddresses(otherThan(to), "delete")
  yield* changeAddresses(to, "add")
  yield* announce(to)
})

/** The same as VRRP does it between two that live: who gets them has them, and says so, before the other one goes without. */
export const handAddress = Effect.fnUntraced(function* (to: SiteGateway) {
  yield* changeAddresses(to, "add")
  yield* announce(to)
  yield* changeAddresses(otherThan(to), "delete")
})

const otherThan = (gateway: SiteGateway): SiteGateway => (gateway === "gateway" ? "otherGateway" : "gateway")

const changeAddresses = Effect.fnUntraced(function* (of: SiteGateway, change: "add" | "delete") {
  const lab = yield* Lab
  for (const [device, address] of [
    ["outer", site.virtual.outer],
    ["inner", site.virtual.inner]
  ] as const) {
    const command = ["ip", "address", change, `${address}/24`, "dev", device]
    yield* change === "add" ? lab.exec(of, command) : lab.attempt(of, command)
  }
})

const announce = Effect.fnUntraced(function* (to: SiteGateway) {
  const lab = yield* Lab
  const { inner: inside, outer: outside } = site.virtual
  // Who is asked where it is takes note of who asks, but not of another one within a second: VRRP says it several times, too.
  const ask = (device: string, address: string, neighbour: string) =>
    lab.exec(to, [
      "sh",
      "-c",
      `for i in 1 2 3 4 5; do ip neigh flush dev ${device}; ping -c 1 -W 1 -I ${address} ${neighbour} >/dev/null && exit; done; exit 1`
    ])
  yield* Effect.all(
    [ask("outer", outside, labAddresses.wide.clientRouter.wide.v4), ask("inner", inside, inner.dns.v4)],
    {
      concurrency: 2
    }
  )
})

/** Ten pings a second, until the scope closes; yields what waits for the next reply after a date (epoch milliseconds). */
export const startPings = Effect.fnUntraced(function* (from: LabHost, address: string) {
  const lab = yield* Lab
  const { lines } = yield* lab.spawn(from, ["ping", "-n", "-D", "-i", "0.1", address])
  return firstAfter(
    lines,
    `reply from ${address}`,
    (line) => Number(/^\[([\d.]+)\] .* bytes from /.exec(line)?.[1]) * 1_000
  )
})

/** Until the scope closes; yields what waits for the date when the gateway got the site's address, after another date. */
export const watchAddress = Effect.fnUntraced(function* (gateway: SiteGateway) {
  const lab = yield* Lab
  const { lines } = yield* lab.spawn(gateway, ["ip", "-4", "-oneline", "-tshort", "monitor", "address"])
  const isHere = (line: string) => line.includes(` inet ${site.virtual.outer}/24 `) && !line.includes("Deleted")
  return firstAfter(lines, `address at ${gateway}`, (line) =>
    isHere(line) ? Date.parse(/^\[(.+?)\]/.exec(line)?.[1] ?? "") : Number.NaN
  )
})

/** The date (epoch milliseconds) of the first line that has a later one; `NaN`: a line of something else. */
const firstAfter =
  (lines: LabProcess["lines"], what: string, dateOf: (line: string) => number) =>
  (since: number): Effect.Effect<number, LabError> =>
    Queue.take(lines).pipe(
      Effect.map(dateOf),
      Effect.repeat({ until: (at) => at > since }),
      Effect.timeoutOrElse({
        duration: "30 seconds",
        orElse: () => Effect.fail(new LabError({ message: `no ${what} within 30 s` }))
      }),
      Effect.catchTag("Done", () => Effect.fail(new LabError({ message: `no ${what} any more` })))
    )
