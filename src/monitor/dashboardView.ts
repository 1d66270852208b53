/** What the dashboard shows of a gateway: bounded, worst first, and judged as `sallyport status` does. */
import type { StatusReport } from "../cli/statusReport.ts"
import { clientsInOrder, type NameRow, namesOf } from "../cli/statusSections.ts"
import { counted } from "../cli/textTable.ts"
import { isWrong, troublesOf } from "../cli/troubles.ts"
import { placeOf, refusalOf } from "../events/describeEvent.ts"
import type { Event, LoggedEvent } from "../events/Event.ts"
import { printable } from "../events/printable.ts"
import { seriesOf } from "./metricFamilies.ts"
import { nameTimeline } from "./nameTimeline.ts"

/** Rows beyond these are counted only. */
const maxTroubles = 100
const maxClients = 200
const maxNames = 500
const maxRefusals = 50
const maxListed = 4
/** How far back a name's states are told, and how many of them. */
const timelineMs = 3_600_000
const maxStretches = 60

/** Epoch seconds: of milliseconds the last digits would differ each time. */
const dated = (millis: number): number => Math.round(millis / 1_000)
const datedOrNull = (millis: number | null | undefined): number | null =>
  millis === null || millis === undefined ? null : dated(millis)

/** Totals since the start. */
export const trafficOf = (dataPlane: Readonly<Record<string, number>>) => ({
  fromClients: dataPlane["outbound.bytes"] ?? 0,
  toClients: dataPlane["inbound.bytes"] ?? 0,
  flows: dataPlane["sessions.live"] ?? 0,
  dropped: dropsOf(dataPlane).reduce((sum, { packets }) => sum + packets, 0)
})

/** Times are epoch seconds, texts without control characters. */
export const dashboardView = (report: StatusReport, events: ReadonlyArray<LoggedEvent>) => {
  const { clients, controlPlane, counters, gateway } = report
  const troubles = troublesOf(report)
  const names = namesOf(report)
  return {
    gateway: {
      kind: controlPlane.kind,
      endpoint: gateway.endpoint,
      startedAt: dated(gateway.startedAt)
    },
    troubles: {
      all: troubles.length,
      wrong: troubles.filter(isWrong).length,
      rows: troubles.slice(0, maxTroubles).map(({ gravity, next, since, what }) => ({
        gravity,
        what: printable(what),
        since: datedOrNull(since),
        next: printable(next)
      }))
    },
    traffic: trafficOf(counters.dataPlane),
    drops: dropsOf(counters.dataPlane),
    clients: {
      all: clients.length,
      connected: clients.filter(({ connected }) => connected).length,
      rows: clientsInOrder(report).slice(0, maxClients).map(clientRow)
    },
    names: {
      all: names.length,
      failing: names.filter(isFailing).length,
      rows: timedNames(names.slice(0, maxNames), events, report.at)
    },
    refusals: events.filter(isRefusal).slice(-maxRefusals).map(refusalRow).toReversed()
  }
}

/** The most first. */
const dropsOf = (dataPlane: Readonly<Record<string, number>>) =>
  Object.entries(dataPlane)
    .flatMap(([key, packets]) => {
      const series = seriesOf("dataPlane", key)
      if (packets === 0 || series?.family !== "sallyport_drops_total") return []
      return [{ at: series.labels["at"] ?? "", reason: series.labels["reason"] ?? "", packets }]
    })
    .toSorted((a, b) => b.packets - a.packets)

const clientRow = (client: StatusReport["clients"][number]) => ({
  name: printable(client.name),
  tunnel: client.tunnel4,
  connected: client.connected,
  from: client.endpoint,
  path: client.path,
  handshakeAt: datedOrNull(client.lastHandshakeAt),
  activeAt: datedOrNull(client.lastActivityAt),
  bytesIn: client.bytesIn ?? 0,
  bytesOut: client.bytesOut ?? 0,
  flows: client.flows ?? 0,
  refused: client.refused ?? 0
})

const isFailing = ({ silent, state }: NameRow): boolean =>
  silent.length > 0 || state === "Unresolved" || state === "Stale"

/** With what became of them within `timelineMs`. */
const timedNames = (names: ReadonlyArray<NameRow>, events: ReadonlyArray<LoggedEvent>, now: number) => {
  const lookups = Map.groupBy(events.flatMap(lookupOf), ({ key }) => key)
  return names.map(({ domain, resolver, rows, silent, state }) => {
    const worst = rows.find((row) => row.state === state)!
    const dead = new Set(silent.map(({ address }) => address))
    const timeline = nameTimeline(
      lookups.get(`${resolver} ${domain}`) ?? [],
      { state, from: worst.since },
      { from: now - timelineMs, most: maxStretches }
    )
    return {
      domain: printable(domain),
      state,
      addresses: worst.addresses.slice(0, maxListed).map((address) => ({ address, answers: !dead.has(address) })),
      moreAddresses: Math.max(0, worst.addresses.length - maxListed),
      reason: worst.reason === null ? null : printable(worst.reason),
      timeline: timeline.map((stretch) => ({ state: stretch.state, from: dated(stretch.from) })),
      clients: listed([...new Set(rows.map(({ client }) => client))])
    }
  })
}

const listed = (names: ReadonlyArray<string>): string =>
  names.length > maxListed ? counted(names.length, "client") : printable(names.join(", "))

const lookupOf = ({ at, event }: LoggedEvent) =>
  event._tag === "Lookup" ? [{ at, ...event, key: `${event.resolver} ${event.domain}` }] : []

interface LoggedRefusal extends LoggedEvent {
  readonly event: Extract<Event, { _tag: "Refused" }>
}

const isRefusal = (logged: LoggedEvent): logged is LoggedRefusal => logged.event._tag === "Refused"

const refusalRow = ({ at, event: { client, packets, reason, to } }: LoggedRefusal) => ({
  at: dated(at),
  client: printable(client),
  to: to === null ? "more kinds than are told apart" : printable(placeOf(to)),
  reason: reason === null ? "" : printable(refusalOf(reason)),
  packets
})
