/** The tables of `sallyport status`. Pure. */
import { formatAge } from "./formatAge.ts"
import type { StatusReport } from "./statusReport.ts"
import { counted, list, table } from "./textTable.ts"

type ClientRow = StatusReport["clients"][number]
type MappingRow = StatusReport["mappings"][number]

/** A name of one resolver set, with all clients that use it. */
export interface NameRow {
  readonly domain: string
  readonly resolver: string
  /** The worst of its mappings'. */
  readonly state: MappingRow["state"]
  readonly rows: ReadonlyArray<MappingRow>
  readonly silent: NonNullable<StatusReport["silentAddresses"]>
}

const badness = ["Unresolved", "Stale", "Resolving", "Resolved"] as const

/** One for each name, bad ones first, then by name. */
export const namesOf = ({ mappings, silentAddresses = [] }: StatusReport): ReadonlyArray<NameRow> => {
  const silent = Map.groupBy(silentAddresses, nameOf)
  return [...Map.groupBy(mappings, nameOf)]
    .map(([name, rows]) => {
      const { domain, resolver } = rows[0]!
      const state = badness.find((one) => rows.some((row) => row.state === one)) ?? "Resolved"
      return { domain, resolver, state, rows, silent: silent.get(name) ?? [] }
    })
    .toSorted((a, b) => rankOf(a) - rankOf(b) || (a.domain < b.domain ? -1 : 1))
}

const nameOf = ({ domain, resolver }: { readonly domain: string; readonly resolver: string }): string =>
  `${domain} ${resolver}`

const rankOf = ({ silent, state }: NameRow): number => (silent.length > 0 ? -1 : badness.indexOf(state))

/** Connected ones first, those with the latest handshake before. */
export const clientsInOrder = ({ clients }: StatusReport): ReadonlyArray<ClientRow> =>
  clients.toSorted(
    (a, b) => Number(b.connected) - Number(a.connected) || (b.lastHandshakeAt ?? 0) - (a.lastHandshakeAt ?? 0)
  )

const ago = (at: number, then: number | null | undefined): string =>
  then === null || then === undefined ? "never" : `${formatAge(at - then)} ago`

/** Narrower screens have no room for tunnel addresses. */
const widthForAll = 100

/** Of the report's clients these. */
export const clientTable = (
  report: StatusReport,
  clients: ReadonlyArray<ClientRow>,
  width = Number.POSITIVE_INFINITY
): string => {
  const { at } = report
  const withTunnel = (cell: string) => (width < widthForAll ? [] : [cell])
  const withKey = (cell: string) => (tellsKeys(report) ? [cell] : [])
  return table(
    [
      "CLIENT",
      ...withTunnel("TUNNEL"),
      ...withKey("KEY"),
      "ENDPOINT",
      "HANDSHAKE",
      "ACTIVE",
      "IN",
      "OUT",
      "FLOWS",
      "REFUSED"
    ],
    clients.map((client) => [
      client.name,
      ...withTunnel(client.tunnel4),
      ...withKey(keyNames[client.gatewayKey ?? "never"]),
      client.connected
        ? `${client.endpoint ?? "?"}${client.path === null ? "" : `, ${client.path}`}`
        : elsewhere(client),
      ago(at, client.lastHandshakeAt),
      ago(at, client.lastActivityAt),
      formatBytes(client.bytesIn ?? 0),
      formatBytes(client.bytesOut ?? 0),
      `${client.flows ?? 0}`,
      `${client.refused ?? 0}`
    ]),
    width
  )
}

const elsewhere = ({ owner }: ClientRow): string => (owner === undefined ? "-" : `at gateway ${owner}`)

/** Whether it is worth a column which key of the gateway each client has: one is being replaced, or a client has one that is gone. */
export const tellsKeys = ({ clients, gateway }: StatusReport): boolean =>
  gateway.endingKey !== undefined || clients.some(({ gatewayKey }) => gatewayKey === "gone")

/** Of the gateway's, the one that a client has. */
export const keyNames = { current: "new", ending: "old", gone: "gone", never: "-" } as const

export const nameTable = (names: ReadonlyArray<NameRow>, at: number, width?: number): string =>
  table(
    ["NAME", "STATE", "ADDRESSES OR REASON", "CHANGED", "CLIENTS"],
    names.map(({ domain, rows, silent, state }) => [
      domain,
      state,
      foundOf(
        rows.find((row) => row.state === state)!,
        silent
      ),
      ago(at, Math.max(...rows.map(({ since }) => since))),
      list([...new Set(rows.map(({ client }) => client))])
    ]),
    width
  )

const foundOf = ({ addresses, reason }: MappingRow, silent: NameRow["silent"] = []): string => {
  const dead = new Set(silent.map(({ address }) => address))
  const found = list(addresses.map((address) => (dead.has(address) ? `${address} (no answer)` : address)))
  return [found, reason ?? ""].filter((text) => text !== "").join("; ") || "-"
}

/** Each client's part of a name, or each name of a client. */
const mappingTable = (rows: ReadonlyArray<MappingRow>, at: number, by: "client" | "domain", width?: number): string =>
  table(
    [by === "client" ? "CLIENT" : "NAME", "PROXY", "STATE", "ADDRESSES OR REASON", "CHANGED", "NEXT TRY", "LOOKUPS"],
    rows.map((row) => [
      row[by],
      row.proxyIps[0] ?? "-",
      row.state,
      foundOf(row),
      ago(at, row.since),
      row.nextTryAt === null ? "-" : `in ${formatAge(row.nextTryAt - at)}`,
      `${row.lookups}`
    ]),
    width
  )

/** All about one client: what it is, what it may reach, its names. `undefined`: none is called so. */
export const clientDetails = (report: StatusReport, name: string, width?: number): string | undefined => {
  const { at, authorizations, clients, expired = [], mappings } = report
  const client = clients.find((one) => one.name === name)
  if (client === undefined) return undefined
  const rights = [...authorizations, ...expired].filter((one) => one.client === name)
  const names = mappings.filter((one) => one.client === name)
  return [
    table(
      ["CLIENT", name],
      [
        ["public key", client.publicKey],
        ["tunnel", `${client.tunnel4} ${client.tunnel6}`],
        ["last heard", ago(at, client.lastHeardAt)]
      ]
    ),
    clientTable(report, [client], width),
    rights.length === 0 ? "authorizations: none" : rightsTable(rights, at, width),
    names.length === 0 ? "names: none was asked for yet" : mappingTable(names, at, "domain", width)
  ].join("\n\n")
}

/** All about one name. `undefined`: no client has it. */
export const nameDetails = (report: StatusReport, domain: string, width?: number): string | undefined => {
  const found = namesOf(report).filter((one) => one.domain === domain)
  if (found.length === 0) return undefined
  return found
    .map(({ resolver, rows, silent }) => {
      const resources = [...new Set(rows.flatMap((row) => row.resources))]
      return [
        table(
          ["NAME", domain],
          [
            ["resolver", resolver],
            ["resources", list(resources)]
          ],
          width
        ),
        mappingTable(rows, report.at, "client", width),
        ...(silent.length === 0
          ? []
          : [
              table(
                ["NO ANSWER FROM", "TO", "TRIES", "SINCE", "LAST ANSWER"],
                silent.map((one) => [
                  one.address,
                  list(one.clients),
                  `${one.tries}`,
                  ago(report.at, one.since),
                  ago(report.at, one.lastReplyAt)
                ]),
                width
              )
            ])
      ].join("\n\n")
    })
    .join("\n\n")
}

/** A name as people write it. */
export const nameIn = (target: string): string => target.toLowerCase().replace(/\.$/, "")

/** Whether there is something to show of a client or a name. */
export const isKnown = ({ clients, mappings }: StatusReport, target: string): boolean =>
  clients.some(({ name }) => name === target) || mappings.some(({ domain }) => domain === nameIn(target))

/** Silent ones first. */
export const serverTable = ({ at, dnsServers = [] }: StatusReport, width?: number): string =>
  table(
    ["DNS SERVER", "STATE", "LATENCY", "LAST ANSWER", "ODD"],
    dnsServers
      .toSorted((a, b) => Number(a.silentSince === null) - Number(b.silentSince === null))
      .map(({ answeredAt, latencyMs, oddities, server, silentSince }) => [
        server,
        silentSince === null ? "answers" : `silent for ${formatAge(at - silentSince)}`,
        latencyMs === null ? "-" : `${latencyMs} ms`,
        ago(at, answeredAt),
        oddities.length === 0 ? "-" : oddities.join(", ")
      ]),
    width
  )

const rightsTable = (rows: StatusReport["authorizations"], at: number, width?: number): string =>
  table(
    ["RESOURCE", "EXPIRES"],
    rows.map(({ expiresAt, resource }) => [
      resource,
      expiresAt === null
        ? "never"
        : expiresAt <= at
          ? `expired ${formatAge(at - expiresAt)} ago`
          : `in ${formatAge(expiresAt - at)}`
    ]),
    width
  )

const counterTitles = [
  ["controlPlane", "ACCESS"],
  ["dataPlane", "PACKETS"],
  ["resolutions", "LOOKUPS"],
  ["dns", "TUNNEL DNS"],
  ["upstream", "DNS SERVERS"],
  ["host", "HOST"],
  ["defects", "BUGS OUTLIVED"]
] as const

/** Those that are not zero. */
export const counterTables = ({ counters }: StatusReport, width?: number): string =>
  counterTitles
    .flatMap(([part, title]) => {
      const rows = Object.entries(counters[part] ?? {})
        .filter(([, value]) => value !== 0)
        .map(([name, value]) => [name, `${value}`])
      return rows.length === 0 ? [] : [table([title, ""], rows, width)]
    })
    .join("\n\n")

/** `12 names: 3 Unresolved, 9 Resolved`, worst first. */
export const nameSummary = (report: StatusReport): string => {
  const names = namesOf(report)
  const states = badness.flatMap((state) => {
    const count = names.filter((name) => name.state === state).length
    return count === 0 ? [] : [`${count} ${state.toLowerCase()}`]
  })
  const omitted = report.omitted.mappings === 0 ? "" : `, ${report.omitted.mappings} of clients not shown`
  return `${counted(names.length, "name")}${states.length === 0 ? "" : `: ${states.join(", ")}`}${omitted}`
}

/** `1.2 MB`, by thousands. */
export const formatBytes = (bytes: number): string => {
  const power = bytes < 1000 ? 0 : Math.min(4, Math.floor(Math.log10(bytes) / 3))
  const value = bytes / 1000 ** power
  return `${power === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${["B", "kB", "MB", "GB", "TB"][power]}`
}

type Gateway = NonNullable<StatusReport["site"]>["gateways"][number]

/** All gateways of a site, as the one that is asked knows them: those with something wrong first, then by number. */
export const siteTable = ({ at, site }: StatusReport, width?: number): string => {
  if (site === undefined) return "this gateway has no site (state: in its file names one)"
  const { gateways, postgres } = site
  if (gateways.length === 0) return "this gateway has not met its site yet"
  const newest = Math.max(...gateways.map(({ about }) => about?.policy ?? 0))
  const rows = gateways.toSorted((a, b) => standingOf(a, newest) - standingOf(b, newest) || a.gateway - b.gateway)
  const known = table(
    ["GATEWAY", "HOST", "STATE", "ADDRESS", "CLIENTS", "POLICY", "READ", "VERSION"],
    rows.map((row) => [
      `${row.gateway}${row.own ? " (this)" : ""}`,
      row.about?.host ?? "-",
      stateOf(row, at),
      row.master ? "here" : "-",
      `${row.clients}`,
      policyOf(row, newest),
      row.about?.readAt == null ? "-" : `${formatAge(at - row.about.readAt)} ago`,
      row.about?.version ?? "-"
    ]),
    width
  )
  return postgres.wrong === null
    ? known
    : `${known}\nas it was ${formatAge(at - postgres.since)} ago: PostgreSQL is away`
}

const stateOf = ({ alive, draining, heardAt }: Gateway, at: number): string =>
  alive ? (draining ? "drains" : "alive") : `silent for ${formatAge(at - heardAt)}`

/** One of its own file beside others that go by the site's policy is behind, too. */
const isBehind = ({ about }: Gateway, newest: number): boolean =>
  newest > 0 && about !== undefined && about.policy !== newest

const policyOf = (row: Gateway, newest: number): string => {
  if (row.about === undefined) return "-"
  const { policy } = row.about
  return `${policy ?? "own file"}${isBehind(row, newest) ? ` (not ${newest})` : ""}`
}

const standingOf = (row: Gateway, newest: number): number =>
  row.alive ? (isBehind(row, newest) ? 1 : row.draining ? 2 : 3) : 0
