/** What lies behind the rules, as steps of an explanation: DNS servers, the host's routes, the hosts themselves. */
import * as Effect from "effect/Effect"
import type { LoggedEvent } from "../events/Event.ts"
import { shellWord } from "../events/printable.ts"
import type { HostRoute } from "../host/HostRoute.ts"
import type { Client } from "../model/Client.ts"
import type { Name } from "../model/Mapping.ts"
import { formatServer, type ResolverServer, type ResolverSet } from "../model/ResolverSet.ts"
import type { Target } from "../model/Target.ts"
import type { ResolutionReason } from "../resolution/Resolver.ts"
import { describeReason } from "./describeReason.ts"
import type { Way } from "./explanation.ts"
import { formatAge } from "./formatAge.ts"
import type { StatusReport } from "./statusReport.ts"
import { counted, list } from "./textTable.ts"

export interface RunningGateway {
  readonly report: StatusReport
  /** The oldest first. */
  readonly events: ReadonlyArray<LoggedEvent>
  /** Bounded in time. */
  readonly lookUp: (name: Name) => Effect.Effect<ReadonlyArray<string>, ResolutionReason>
  /** The first alias of a name, by its servers, for which `isMeant` holds. */
  readonly aliasOf: (name: Name, isMeant: (domain: string) => boolean) => Effect.Effect<string | null>
  /** For packets of a client that has the tunnel address `from`. */
  readonly routeTo: (address: string, from: string) => Effect.Effect<HostRoute>
}

export interface Onward {
  readonly running: RunningGateway
  readonly resolvers: ReadonlyMap<string, ResolverSet>
  readonly client: Client
  readonly way: Way
}

/** What got no answer longer ago says nothing of now. */
const latelyMs = 600_000

/** Addresses of a name that are looked at. */
const mostAddresses = 8

/**
 * What the gateway knows of a name of a resource, else what its servers say now; `null`: no address, which is told. That it
 * had none counts for nothing: when somebody wants the name, the gateway asks anew, too.
 */
export const addressesOf = Effect.fnUntraced(function* (onward: Onward, name: Name) {
  const { client, running, way } = onward
  const { report } = running
  const rows = report.mappings.filter(({ domain, resolver }) => domain === name.domain && resolver === name.resolver)
  const own = rows.find((row) => row.client === client.id)
  const known = [own, ...rows].find((row) => row?.state === "Resolved" || row?.state === "Stale")
  if (known === undefined) return yield* lookedUp(onward, name, running.lookUp(name))
  const servers = serversOf(onward, name.resolver)
  const age = formatAge(report.at - known.since)
  const stale = known.state === "Stale" ? `; no fresh answer since: ${known.reason ?? ""}` : ""
  const told = own === undefined || own.proxyIps.length === 0 ? "" : `; ${client.id} is told ${list(own.proxyIps)}`
  way.yes("lookup", `${name.domain} is ${list(known.addresses)}, by ${servers}, ${age} ago${stale}${told}`)
  return known.addresses.slice(0, mostAddresses)
})

/** What the servers of a name say now; `null`: no address, which is told. */
export const lookedUp = (onward: Onward, name: Name, answer: ReturnType<RunningGateway["lookUp"]>) => {
  const { way } = onward
  const servers = serversOf(onward, name.resolver)
  return Effect.match(answer, {
    onSuccess: (addresses) => {
      way.yes("lookup", `${name.domain} is ${list(addresses)}, by ${servers}, asked just now`)
      return addresses.slice(0, mostAddresses)
    },
    onFailure: (reason) => {
      const what = `${describeReason(reason)}, asked just now: ${servers}`
      way.no("lookup", { what, fix: digAt(onward, name) })
      return null
    }
  })
}

/** To the addresses of a name of a resource, or to addresses as they are (`null`). */
export const toHost = Effect.fnUntraced(function* (
  onward: Onward,
  name: Name | null,
  addresses: ReadonlyArray<string>,
  target: Target
) {
  const { client, running, way } = onward
  const reached: Array<string> = []
  const routes: Array<string> = []
  let none: { readonly address: string; readonly why: string } | undefined
  const found = yield* Effect.forEach(
    addresses,
    (address) => running.routeTo(address, address.includes(":") ? client.tunnel6 : client.tunnel4),
    { concurrency: mostAddresses }
  )
  for (const [i, route] of found.entries()) {
    const address = addresses[i]!
    if (route._tag === "None") {
      none ??= { address, why: route.why }
      continue
    }
    reached.push(address)
    if (route._tag === "Unknown") continue
    routes.push(`${address} by ${route.device}${route.via === null ? "" : ` and ${route.via}`}`)
  }
  if (none !== undefined && reached.length === 0) {
    return way.no("route", {
      what: `the gateway's host has no route to ${none.address}: ${none.why}`,
      fix: `ip route get ${none.address} at the gateway, then add the route that is missing`
    })
  }
  if (routes.length > 0) way.yes("route", `the gateway's host has a route to ${routes.slice(0, 3).join(", ")}`)
  return host(onward, name, reached, target)
})

const host = (
  { client, running, way }: Onward,
  name: Name | null,
  addresses: ReadonlyArray<string>,
  target: Target
) => {
  const { at, silentAddresses = [] } = running.report
  const silent = silentAddresses.filter(
    ({ address, domain, resolver }) =>
      name !== null && domain === name.domain && resolver === name.resolver && addresses.includes(address)
  )
  const last = (of: ReadonlyArray<string>) => lastFlow(running, client, name?.domain ?? null, of, target)
  const mute = addresses.flatMap((address) => {
    if (silent.some((row) => row.address === address)) return []
    const flow = last([address])
    if (flow === undefined || flow.event.bytesIn > 0 || !isAnswered(target)) return []
    return at - flow.at > latelyMs || answerAfter(running, flow) !== undefined ? [] : [{ address, flow }]
  })
  const told = [
    ...silent.map(({ address, lastReplyAt, since, tries }) => {
      const reply =
        lastReplyAt === null ? "no answer is remembered" : `the last answer ${formatAge(at - lastReplyAt)} ago`
      return `${address} does not answer for ${formatAge(at - since)} (${counted(tries, "try", "tries")}, ${reply})`
    }),
    ...mute.map(({ flow }) => describeFlow(flow, at))
  ]
  const dead = [...silent, ...mute].map(({ address }) => address)
  const living = addresses.filter((address) => !dead.includes(address))
  const [first] = dead
  if (first !== undefined && living.length === 0) {
    const { port, protocol } = target
    const probe = port === null || protocol !== "tcp" ? `ping ${first}` : `nc -vz ${first} ${port}`
    const fix = `${probe} at the gateway: is the host up, does it let the gateway in, is there a way back?`
    return way.no("host", { what: told.join("; "), fix })
  }
  const flow = last(living)
  const use =
    flow === undefined
      ? `nothing says that ${list(living)} would not answer; ${client.id} has not used it lately`
      : describeFlow(answerAfter(running, flow) ?? flow, at)
  return way.yes("host", [use, ...told].join("; "))
}

type Flow = Extract<LoggedEvent["event"], { readonly _tag: "FlowOpened" | "FlowClosed" }>
interface LoggedFlow extends LoggedEvent {
  readonly event: Flow
}

/** Of the use of these addresses by the client, for packets of that kind. */
const lastFlow = (
  { events }: RunningGateway,
  client: Client,
  domain: string | null,
  addresses: ReadonlyArray<string>,
  { port, protocol }: Target
): LoggedFlow | undefined =>
  events.findLast(
    (logged): logged is LoggedFlow =>
      isFlow(logged) &&
      logged.event.client === client.id &&
      logged.event.to.domain === domain &&
      (protocol === null || logged.event.to.protocol === protocol) &&
      (port === null || logged.event.to.port === port) &&
      addresses.includes(addressOf(logged.event))
  )

/** The last flow of anybody, told after this one, in which its address and port answered. */
const answerAfter = ({ events }: RunningGateway, { event, number }: LoggedFlow): LoggedFlow | undefined =>
  events.findLast(
    (later): later is LoggedFlow =>
      isFlow(later) &&
      later.number > number &&
      later.event.bytesIn > 0 &&
      later.event.to.protocol === event.to.protocol &&
      later.event.to.port === event.to.port &&
      addressOf(later.event) === addressOf(event)
  )

const isFlow = (logged: LoggedEvent): logged is LoggedFlow =>
  logged.event._tag === "FlowOpened" || logged.event._tag === "FlowClosed"

const addressOf = ({ real, to }: Flow): string => real ?? to.address

/** Whether somebody answers such packets wherever they are served: many never answer UDP. */
const isAnswered = ({ port, protocol }: Target): boolean => protocol === "icmp" || (protocol === "tcp" && port !== null)

const describeFlow = ({ at, event }: LoggedFlow, now: number): string => {
  const address = addressOf(event)
  const age = formatAge(now - at)
  if (event.bytesIn === 0) {
    const { port, protocol } = event.to
    const on = protocol === "icmp" ? protocol : `${protocol}/${port}`
    return event._tag === "FlowOpened"
      ? `no answer from ${address} on ${on} within 3 s: the last flow began ${age} ago`
      : `no answer from ${address} on ${on}: the last flow ended ${age} ago`
  }
  return event._tag === "FlowOpened"
    ? `${address} is in use: the last flow began ${age} ago`
    : `${address} was in use ${age} ago: ${event.bytesOut} bytes there, ${event.bytesIn} back`
}

const serversOf = ({ resolvers, running }: Onward, resolver: string): string => {
  const { at, dnsServers = [] } = running.report
  const told = (resolvers.get(resolver)?.servers ?? []).map((server) => {
    const text = formatServer(server)
    const row = dnsServers.find((one) => one.server === text)
    if (row === undefined) return text
    if (row.silentSince !== null) return `${text} silent for ${formatAge(at - row.silentSince)}`
    return row.answeredAt === null ? text : `${text} answered ${formatAge(at - row.answeredAt)} ago`
  })
  return told.length === 0 ? `the servers of ${resolver}` : `${resolver} (${told.join(", ")})`
}

/** The first server of the set, by its transport; the host's own where it has none. */
const digAt = ({ resolvers }: Onward, { domain, resolver }: Name): string => {
  const [first] = resolvers.get(resolver)?.servers ?? []
  const words = first === undefined ? [] : [`@${first.address}`, ...digOptions(first)]
  return `${["dig", ...words, shellWord(domain)].join(" ")} at the gateway`
}

const digOptions = (server: ResolverServer): ReadonlyArray<string> => {
  const { port, transport } = server
  switch (transport) {
    case "udp":
    case "tcp":
      return [...(port === 53 ? [] : [`-p ${port}`]), ...(transport === "udp" ? [] : ["+tcp"])]
    case "tls":
      return [`-p ${port}`, "+tls"]
    case "https":
      return [`-p ${port}`, `+https=${shellWord(server.path)}`]
  }
}
