import { displayWidth } from "effect/cli/CliOutput"
import { printable as clean } from "../events/printable.ts"
import { formatAge } from "./formatAge.ts"
import type { StatusReport } from "./statusReport.ts"

/** The report for people: three tables and the counters that are not zero. Ends without a newline. */
export const renderStatus = (report: StatusReport): string => {
  const { at, gateway, clients, controlPlane, mappings, authorizations, omitted, counters } = report
  const again = gateway.workerEpoch - 1
  const restarts = again > 0 ? `, packet worker restarted ${again === 1 ? "once" : `${again} times`}` : ""
  const connected = clients.filter((client) => client.connected).length
  const where =
    controlPlane.kind === "file"
      ? `endpoint ${clean(gateway.endpoint)}${controlPlane.connected ? "" : `: ${clean(controlPlane.detail)}`}`
      : `portal ${clean(gateway.endpoint)}: ${clean(controlPlane.connected ? "connected" : controlPlane.detail)}`
  const parts = [
    `gateway ${clean(gateway.publicKey)}\n${where}, up ${formatAge(at - gateway.startedAt)}${restarts}`,
    firewallLines(report),
    hostLines(report),
    familyLines(report),
    foreignLines(report),
    counterLines("bugs met and outlived: look into the log, and report them", counters.defects ?? {}),
    sharedKeys(report),
    filteredLine(report),
    privateDns(counters.dataPlane["outbound.private_dns_refused"] ?? 0),
    section(
      `clients: ${clients.length}, ${connected} connected`,
      ["CLIENT", "TUNNEL", "ENDPOINT", "HANDSHAKE"],
      clients.map((client) => [
        client.name,
        client.tunnel4,
        client.connected ? `${client.endpoint ?? "?"}${client.path === null ? "" : `, ${client.path}`}` : "-",
        client.lastHandshakeAt === null ? "never" : `${formatAge(at - client.lastHandshakeAt)} ago${aheadOf(client)}`
      ])
    ),
    section(
      `names: ${mappings.length + omitted.mappings}${more(omitted.mappings)}`,
      ["CLIENT", "NAME", "PROXY", "STATE", "ADDRESSES OR REASON", "AGE", "NEXT TRY", "LOOKUPS"],
      mappings.map((mapping) => [
        mapping.client,
        mapping.domain,
        list(mapping.proxyIps),
        mapping.state,
        [list(mapping.addresses), mapping.reason ?? ""].filter((text) => text !== "").join("; ") || "-",
        formatAge(at - mapping.since),
        mapping.nextTryAt === null ? "-" : `in ${formatAge(mapping.nextTryAt - at)}`,
        `${mapping.lookups}`
      ])
    ),
    dnsServers(report),
    section(
      `authorizations: ${authorizations.length + omitted.authorizations}${more(omitted.authorizations)}`,
      ["CLIENT", "RESOURCE", "EXPIRES"],
      authorizations.map(({ client, resource, expiresAt }) => [
        client,
        resource,
        expiresAt === null ? "never" : expiresAt <= at ? "now" : `in ${formatAge(expiresAt - at)}`
      ])
    ),
    counterLines("access counters", counters.controlPlane),
    counterLines("packet counters", counters.dataPlane),
    counterLines("lookup counters", counters.resolutions),
    counterLines("tunnel DNS counters", counters.dns),
    counterLines("DNS server counters", counters.upstream ?? {}),
    counterLines("host counters", counters.host ?? {})
  ]
  return parts.filter((part) => part !== "").join("\n\n")
}

/** Silent ones first. */
const dnsServers = ({ at, dnsServers = [] }: StatusReport): string => {
  if (dnsServers.length === 0) return ""
  const rows = dnsServers.toSorted((a, b) => Number(a.silentSince === null) - Number(b.silentSince === null))
  return section(
    `DNS servers: ${rows.length}`,
    ["SERVER", "STATE", "LATENCY", "LAST ANSWER", "ODD"],
    rows.map(({ answeredAt, latencyMs, oddities, server, silentSince }) => [
      server,
      silentSince === null ? "answers" : `silent for ${formatAge(at - silentSince)}`,
      latencyMs === null ? "-" : `${latencyMs} ms`,
      answeredAt === null ? "never" : `${formatAge(at - answeredAt)} ago`,
      oddities.length === 0 ? "-" : oddities.join(", ")
    ])
  )
}

const sharedKeys = ({ at, clients }: StatusReport): string =>
  clients
    .flatMap(({ name, twoPlaces }) =>
      twoPlaces === undefined
        ? []
        : [
            clean(
              `client ${name}: its key is in use at two places at a time, ${list(twoPlaces.endpoints)}, ${formatAge(at - twoPlaces.at)} ago the last time; give every device a key of its own`
            )
          ]
    )
    .slice(0, maxSharedKeys)
    .join("\n")

const maxSharedKeys = 10

const privateDns = (refused: number): string =>
  refused === 0
    ? ""
    : `DNS through the Internet resource: ${refused} packets to a private DNS server refused, so names outside of resources ` +
      "fail for those clients; give clients a public DNS server, or theirs a resource of its own"

/** Addresses that were kept from clients, the last one as an example. */
const filteredLine = ({ at, controlPlane: { filtered } }: StatusReport): string => {
  if (filtered === undefined || filtered.last === null) return ""
  const { address, client, name, why, at: then } = filtered.last
  return clean(
    `left out of DNS answers: ${filtered.count === 1 ? "one address" : `${filtered.count} addresses`} that the client cannot reach; ${formatAge(at - then)} ago ` +
      `${client} asked for ${name} at ${address} (${why}): a resource with cidr: for its network would let it pass`
  )
}

/** Of what the host lacks of IPv6: without it on the device there is no way out either. */
const familyLines = ({ at, ipv6 }: StatusReport): string => {
  if (ipv6 === undefined) return ""
  const { device, sockets, wayOut } = ipv6
  return [sockets, device ?? wayOut]
    .flatMap((part) => (part === null ? [] : [`${clean(part.why)}; for ${formatAge(at - part.since)}`]))
    .join("\n")
}

/** Those that cost somebody something first. */
const foreignLines = ({ foreignNetworks = [] }: StatusReport): string => {
  const shown = foreignNetworks.toSorted((a, b) => b.clients.length - a.clients.length)
  const lines = shown.slice(0, maxForeignLines).map(({ clients, network, who }) => {
    const lost = clients.length === 0 ? "no client is in it" : `no replies to ${list(clients)}`
    return clean(`left to the host: ${network}, in use by ${who}; ${lost}`)
  })
  return [...lines, ...(shown.length > lines.length ? [`and ${shown.length - lines.length} more networks`] : [])].join(
    "\n"
  )
}

const maxForeignLines = 10

/** Who takes packets away, and what to do about it. */
const firewallLines = ({ at, firewall }: StatusReport): string =>
  [
    ...(firewall?.judged === false
      ? ["host: whether its firewall lets packets through is not judged (firewall: off)"]
      : []),
    ...(firewall?.lost ?? []).map(
      ({ fix, latest, likely, packets, since, what }) =>
        `host: takes away ${clean(what)} for ${formatAge(at - since)}, ${packets} so far, the last one ${formatAge(at - latest)} ago: most likely ${clean(likely)}: ${clean(fix)}`
    )
  ].join("\n")

/** What is wrong first, then what was put right. */
const hostLines = ({ at, host }: StatusReport): string => {
  if (host === undefined) return ""
  const { last, repaired, wrong } = host
  return [
    ...(wrong === null
      ? []
      : wrong.what.map((what) => `host: wrong for ${formatAge(at - wrong.since)}: ${clean(what)}`)),
    ...(last === null
      ? []
      : [
          `host: changed by others and put right, ${repaired === 1 ? "once" : `${repaired} times`}, ${formatAge(at - last.at)} ago the last time: ${clean(last.what.join(", "))}`
        ])
  ].join("\n")
}

/** Columns as wide as their widest cell, two spaces between, nothing behind the last; control characters shown as `?`. */
export const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const cells = [head, ...rows].map((row) => row.map(clean))
  const widths = head.map((_, column) =>
    cells.reduce((widest, row) => Math.max(widest, displayWidth(row[column] ?? "")), 0)
  )
  const pad = (cell: string, column: number) => cell + " ".repeat(Math.max(0, widths[column]! - displayWidth(cell)))
  return cells.map((row) => row.map(pad).join("  ").trimEnd()).join("\n")
}

const section = (title: string, head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string =>
  rows.length === 0 ? title : `${title}\n${table(head, rows)}`

const counterLines = (title: string, counters: Readonly<Record<string, number>>): string => {
  const rows = Object.entries(counters).filter(([, value]) => value !== 0)
  return rows.length === 0
    ? ""
    : `${title}\n${table(
        ["COUNTER", "VALUE"],
        rows.map(([name, value]) => [name, `${value}`])
      )}`
}

/** Why such a client was refused by others, and may be by a peer that cannot ask it to prove that it is there. */
const aheadOf = ({ clockWasAheadMs }: StatusReport["clients"][number]): string =>
  clockWasAheadMs === undefined ? "" : `, its clock was ${formatAge(clockWasAheadMs)} ahead before`

const list = (texts: ReadonlyArray<string>): string => {
  const shown = texts.slice(0, 4).join(" ")
  return texts.length > 4 ? `${shown} +${texts.length - 4}` : shown
}

const more = (omitted: number): string => (omitted === 0 ? "" : `, ${omitted} not shown`)
