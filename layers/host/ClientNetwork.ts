/**
 * The client's host for `sallyport connect`: addresses, MTU, routes and rules of the TUN device, kept as they should be
 * while it runs. With the device they vanish, the rules with the scope; those of a crash the next start takes away.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import { leastMtu6, type WireguardConf } from "../../src/config/wireguardConf.ts"
import {
  type ClientRoute,
  clientPlan,
  clientRemoval,
  clientRepair,
  clientTable,
  familyOf,
  networkOf,
  ObservedDevice,
  ObservedRoute,
  ObservedRule
} from "../../src/host/clientPlan.ts"
import { HostNetwork } from "../../src/host/HostNetwork.ts"
import { Route } from "../../src/host/overlap.ts"
import { superviseForever } from "../../src/loops/superviseForever.ts"
import { type CommandFailed, runCommand } from "./hostCommand.ts"
import { ipv6Missing } from "./hostSysctl.ts"
import { ClientNetworkError, ipBatch } from "./ipBatch.ts"

/** The host is looked at after each change of its own, and at least this often. */
const lookMs = 5_000
/** Things named in one line. */
const mostNamed = 4

/** Sets the device up, for an endpoint that may move: `setEndpoint` with its address, first of all once. */
export const makeClientNetwork = Effect.fn("ClientNetwork.make")(function* (
  device: string,
  mtu: number,
  conf: WireguardConf
) {
  const dataPlane = yield* DataPlane
  const host = yield* HostNetwork
  const addresses = conf.addresses.map(({ address, prefix }) => `${address}/${prefix}`)
  const wants6 = mtu >= leastMtu6 && addresses.some((address) => familyOf(address) === 6)
  const networks = conf.peer.allowedIps
  const { table } = conf
  let endpoint: string | null = null
  let had6: boolean | null = null
  let trouble = ""
  const turn = Semaphore.makeUnsafe(1)

  const repair = Effect.gen(function* () {
    if (endpoint === null) return []
    const link = yield* findDevice(device)
    if (link === null) yield* dataPlane.remakeDevice
    const v6 = mtu >= leastMtu6 && ipv6Missing(device) === null
    const gone6 = wants6 && !v6 && had6 !== false
    const came6 = wants6 && v6 && had6 === false
    had6 = v6
    if (gone6) yield* Effect.logWarning("IPv6 is off on this host: the tunnel carries IPv4 only")
    if (came6) yield* Effect.logInfo("IPv6 is on again on this host: the tunnel carries it, too")
    const plan = clientPlan({ addresses, networks, endpoint, table, v6 })
    if (plan.addresses.length === 0) {
      return yield* new ClientNetworkError({
        message: "every Address of the file is IPv6, which is off on this host — switch it on, or add an IPv4 Address"
      })
    }
    const { missing, past, ...lines } = clientRepair(device, mtu, plan, {
      device: link ?? {},
      ...(yield* observe(device))
    })
    for (const route of plan.routes) if (missing.includes(`route ${route.network}`)) yield* refuseForeign(route)
    yield* ipBatch("the tunnel's addresses and routes", lines.device)
    for (const family of [4, 6] as const) yield* ipBatch("the tunnel's rules", lines.rules[family], [`-${family}`])
    yield* ipBatch("the tunnel's routes", past)
    // Nobody took away what could not be there.
    if (came6) return []
    return link === null ? ["the device", ...missing] : missing
  })

  yield* Effect.addFinalizer(() => Effect.ignore(removeRules))
  const keep = Effect.gen(function* () {
    yield* Effect.timeoutOption(host.changed, lookMs)
    const missing = yield* turn.withPermit(repair)
    if (missing.length > 0) {
      const more = missing.length > mostNamed ? ` and ${missing.length - mostNamed} more` : ""
      const named = missing.slice(0, mostNamed).join(", ")
      yield* Effect.logWarning(`put back on ${device}: ${named}${more}; something on this host took it away`)
    }
    trouble = ""
  }).pipe(
    Effect.catch(({ message }) => {
      // One line for what stays wrong.
      const news = message !== trouble
      trouble = message
      return news ? Effect.logWarning(message) : Effect.void
    })
  )

  yield* Effect.forkScoped(superviseForever("ClientNetwork.keep", keep))
  return {
    setEndpoint: (address: string) =>
      turn.withPermit(
        Effect.suspend(() => {
          if (address === endpoint) return Effect.void
          endpoint = address
          return Effect.asVoid(repair)
        })
      )
  }
})

/** A route to the same network that is not ours stays, and counts: two that want it are for people to settle. */
const refuseForeign = Effect.fnUntraced(function* (route: ClientRoute) {
  const way = yield* foreignRoute(route)
  if (way === null) return
  return yield* new ClientNetworkError({
    message: `this host has a route to ${route.network} already (${way}), which is left as it is — remove that route, or ${route.network} from AllowedIPs`
  })
})

/** A route of somebody else to the same network, in words; `null`: there is none. */
export const foreignRoute = Effect.fnUntraced(function* ({ network, table }: ClientRoute, own?: string) {
  const family = familyOf(network)
  // There is a default route everywhere; ours is in a table of its own.
  if (network.endsWith("/0")) return null
  const selector = table === null || table === clientTable ? [] : ["table", String(table)]
  const routes = yield* read([`-${family}`, "route", "show", ...selector, "exact", network], Schema.Array(Route)).pipe(
    Effect.orElseSucceed(() => [])
  )
  const foreign = routes.find(({ dev, dst }) => networkOf(dst, family) === network && dev !== own)
  if (foreign === undefined) return null
  return `${network}${foreign.gateway === undefined ? "" : ` via ${foreign.gateway}`}${foreign.dev === undefined ? "" : ` dev ${foreign.dev}`}`
})

/** `null`: there is no such device. */
const findDevice = (device: string) =>
  read(["address", "show", "dev", device], Schema.Array(ObservedDevice)).pipe(
    Effect.map(([link = {}]) => link),
    Effect.catchIf(
      ({ message }) => /does not exist|cannot find/i.test(message),
      () => Effect.succeed(null)
    )
  )

const observe = Effect.fnUntraced(function* (device: string) {
  const of = (family: 4 | 6) => {
    const routes = read([`-${family}`, "route", "show", "table", "all", "dev", device], Schema.Array(ObservedRoute))
    // A table that does not exist yet is an error for `ip`; a host without IPv6 has neither.
    return Effect.orElseSucceed(routes, () => [])
  }
  return {
    routes: { 4: yield* of(4), 6: yield* of(6) },
    rules: yield* observeRules
  }
})

const observeRules = Effect.gen(function* () {
  const of = (family: 4 | 6) =>
    Effect.orElseSucceed(read([`-${family}`, "rule", "show"], Schema.Array(ObservedRule)), () => [])
  return { 4: yield* of(4), 6: yield* of(6) }
})

const removeRules = Effect.gen(function* () {
  const rules = yield* observeRules
  for (const family of [4, 6] as const) {
    yield* ipBatch("the tunnel's rules", clientRemoval(rules[family]), [`-${family}`, "-force"])
  }
})

const read = <A>(args: ReadonlyArray<string>, schema: Schema.Codec<A, unknown>): Effect.Effect<A, ClientNetworkError> =>
  runCommand("ip", ["-j", ...args]).pipe(
    Effect.mapError(({ kind, output }: CommandFailed) => new ClientNetworkError({ message: unreadable(kind, output) })),
    Effect.flatMap((text) =>
      Schema.decodeEffect(Schema.fromJsonString(schema))(text.trim() === "" ? "[]" : text).pipe(
        Effect.mapError(() => new ClientNetworkError({ message: unreadable("failed", "something unexpected") }))
      )
    )
  )

const unreadable = (kind: CommandFailed["kind"], output: string): string =>
  kind === "missing"
    ? "the program ip is missing: apt-get install iproute2"
    : `this host's network cannot be read: ip ${kind === "timeout" ? "took too long" : `says "${output}"`}`
