/**
 * What is wrong with a running gateway, by its report: one small judgement for each kind, and nothing else decides it. Each
 * finding says what, since when, and what to do next.
 */
import { shellWord } from "../events/printable.ts"
import { formatAge } from "./formatAge.ts"
import type { StatusReport } from "./statusReport.ts"
import { counted, list } from "./textTable.ts"

/** Worst first: nobody gets through, somebody does not, it will or may be so, good to know. All but notes are wrong. */
const gravities = ["outage", "failing", "odd", "note"] as const
export type Gravity = (typeof gravities)[number]

export interface Trouble {
  readonly gravity: Gravity
  readonly what: string
  /** Epoch milliseconds; `null`: not known. */
  readonly since: number | null
  readonly next: string
  /** Names of clients and domains that it is about; neither: it is about the gateway. */
  readonly about: ReadonlyArray<string>
}

type Judgement = (report: StatusReport) => ReadonlyArray<Trouble>

/** All that is wrong, worst first, and of equal gravity what lasts longest. */
export const troublesOf = (report: StatusReport): ReadonlyArray<Trouble> =>
  judgements
    .flatMap((judge) => judge(report))
    .toSorted((a, b) => gravities.indexOf(a.gravity) - gravities.indexOf(b.gravity) || (a.since ?? 0) - (b.since ?? 0))

export const isWrong = ({ gravity }: Trouble): boolean => gravity !== "note"

const controlPlane: Judgement = ({ controlPlane: { connected, detail, kind } }) =>
  connected
    ? []
    : kind === "portal"
      ? [
          trouble(
            "outage",
            `not connected to the portal: ${detail}`,
            null,
            "what is authorized goes on for now; look at the portal and the way to it"
          )
        ]
      : [trouble("failing", detail, null, "look at the state directory: its disk, owner and mode")]

const siteAway: Judgement = ({ at, site }) => {
  if (site === undefined || site.postgres.wrong === null) return []
  const { since, wrong } = site.postgres
  if (site.slots.own === 0) return [trouble("failing", `new names get no proxy IPs: ${wrong}`, since, "")]
  const left = (site.reliedUntil ?? 0) - at
  const others =
    left <= 0 ? "but what other gateways gave is forgotten" : `what other gateways gave for ${formatAge(left)} more`
  return [trouble("odd", `the site is away: ${wrong}`, since, `all goes on meanwhile, ${others}`)]
}

const refusedPolicy: Judgement = ({ site }) => {
  const refused = site?.policy?.refused ?? null
  return refused === null ? [] : [trouble("failing", refused.why, refused.since, "")]
}

/** As far as is known: the others are not heard of while PostgreSQL is away. */
const silentGateways: Judgement = ({ site }) =>
  site === undefined || site.postgres.wrong !== null
    ? []
    : site.gateways
        .filter(({ alive }) => !alive)
        .map(({ gateway, heardAt }) =>
          trouble(
            "odd",
            `gateway ${gateway} of the site is silent`,
            heardAt,
            `see whether it runs, and reaches PostgreSQL; when it is gone for good: sallyport forget-gateway ${gateway}`
          )
        )

const firewallLosses: Judgement = ({ firewall }) =>
  (firewall?.lost ?? []).map(({ fix, likely, packets, since, what }) =>
    trouble(
      "outage",
      `the host takes away ${what}, ${counted(packets, "packet")} so far: most likely ${likely}`,
      since,
      fix
    )
  )

const firewallUnjudged: Judgement = ({ firewall }) =>
  firewall?.judged === false
    ? [trouble("note", "whether the host's firewall lets packets through is not judged (firewall: off)", null, "")]
    : []

const firewallUncounted: Judgement = ({ firewall }) =>
  typeof firewall?.uncounted === "string"
    ? [trouble("odd", `whether the host's firewall lets packets through is not seen: ${firewall.uncounted}`, null, "")]
    : []

const hostWrong: Judgement = ({ host }) =>
  (host?.wrong?.what ?? []).map((what) => trouble("outage", `host: ${what}`, host!.wrong!.since, ""))

const hostRepaired: Judgement = ({ host }) =>
  host === undefined || host.last === null
    ? []
    : [
        trouble(
          "note",
          `others changed the host, and it was put right ${times(host.repaired)}, the last time: ${host.last.what.join(", ")}`,
          host.last.at,
          "find out which program does that"
        )
      ]

const httpTaken: Judgement = ({ controlPlane: { kind }, http }) =>
  http === undefined || http === null || http.wrong === null
    ? []
    : [
        trouble(
          "odd",
          `no metrics, health and dashboard at ${http.at}: ${http.wrong.why}`,
          http.wrong.since,
          freeHttpAddress(kind, http.at.slice(http.at.lastIndexOf(":") + 1))
        )
      ]

type Kind = StatusReport["controlPlane"]["kind"]

/** What the operator calls the address of metrics, health and dashboard. */
export const httpSetting = (kind: Kind): string => (kind === "file" ? "listen_http" : "SALLYPORT_LISTEN_HTTP")

/** What to do where somebody else has its port. */
export const freeHttpAddress = (kind: Kind, port: string | number): string =>
  `find its owner with "ss -ltnp sport = :${port}", or set ${httpSetting(kind)} to a free address`

/** One finding for a resource whose time has passed, however many clients had it. */
const expiredGrants: Judgement = ({ expired = [] }) =>
  [...Map.groupBy(expired, ({ expiresAt, resource }) => JSON.stringify([resource, expiresAt])).values()].map((rows) => {
    const { expiresAt, resource } = rows[0]!
    const clients = rows.map(({ client }) => client)
    return trouble(
      "note",
      `the resource ${resource} has expired: no longer for ${list(clients)}`,
      expiresAt,
      "write a later expires:, or remove it",
      clients
    )
  })

const defects: Judgement = ({ counters }) =>
  Object.entries(counters.defects ?? {}).flatMap(([loop, count]) =>
    count === 0
      ? []
      : [
          trouble(
            "failing",
            `a bug in ${loop} was met and outlived ${times(count)}`,
            null,
            "look into the log, and report it"
          )
        ]
  )

/** A packet path in memory has no worker. */
const workerDown: Judgement = ({ counters: { dataPlane } }) =>
  dataPlane["worker.ready"] === 0
    ? [
        trouble(
          "outage",
          "the packet worker does not run",
          null,
          "it is started again; if this lasts, look into the log"
        )
      ]
    : []

const workerRestarts: Judgement = ({ gateway: { workerEpoch } }) =>
  workerEpoch <= 1
    ? []
    : [trouble("odd", `the packet worker was restarted ${times(workerEpoch - 1)}`, null, "look into the log for why")]

const silentServers: Judgement = ({ dnsServers = [] }) => {
  const all = dnsServers.every(({ silentSince }) => silentSince !== null)
  return dnsServers.flatMap(({ server, silentSince }) =>
    silentSince === null
      ? []
      : [
          trouble(
            all ? "outage" : "failing",
            `the DNS server ${server} is silent`,
            silentSince,
            "is it up, and is there a way to it?"
          )
        ]
  )
}

/** One finding for a name of however many clients. */
const failingNames: Judgement = ({ mappings }) => {
  const byName = Map.groupBy(
    mappings.filter(({ state }) => state === "Unresolved" || state === "Stale"),
    ({ domain, reason, resolver, state }) => JSON.stringify([domain, resolver, state, reason])
  )
  return [...byName.values()].map((rows) => {
    const { addresses, domain, reason, resolver, state } = rows[0]!
    const since = Math.min(...rows.map((row) => row.since))
    const who = clientsOf(rows.map(({ client }) => client))
    const what =
      state === "Stale"
        ? `${domain} is served at its last good answer, ${list(addresses)}, to ${who}: ${reason ?? ""}`
        : `${domain} has no address for ${who}: ${reason ?? ""}`
    const about = [domain, ...rows.map(({ client }) => client)]
    return trouble(
      state === "Stale" ? "odd" : "failing",
      what,
      since,
      `dig ${shellWord(domain)} at the servers of ${resolver}`,
      about
    )
  })
}

/** Real hosts that do not answer, however good the name is. */
const silentAddresses: Judgement = ({ mappings, silentAddresses = [] }) =>
  silentAddresses.map(({ address, clients, domain, resolver, since, tries }) => {
    const others = mappings.some(
      (row) => row.domain === domain && row.resolver === resolver && row.addresses.length > 1
    )
    return trouble(
      "failing",
      `no answer from ${address}, an address of ${domain}: ${counted(tries, "try", "tries")} of ${clientsOf(clients)}`,
      since,
      others ? "its other addresses are tried; is the host up?" : "is the host up, and is there a way to it and back?",
      [domain, ...clients]
    )
  })

/** Fewer unused answers than these may have been lost on their way. */
export const fewUnused = 3
/** A device that has given up says nothing any more. */
const askedLatelyMs = 600_000

const unusedAnswers: Judgement = ({ at, clients }) =>
  clients.flatMap(({ lastHeardAt, name, unusedAnswers = 0 }) =>
    unusedAnswers < fewUnused || at - (lastHeardAt ?? 0) > askedLatelyMs
      ? []
      : [
          trouble(
            "failing",
            `${name} asks for sessions and uses none: ${unusedAnswers} of its handshakes in a row were answered`,
            null,
            findUnused,
            [name]
          )
        ]
  )

/** Which of them it is, nobody sees from here. */
export const findUnused =
  "is its PresharedKey the one that the gateway has for it? If it is, find out why the gateway's answers do not reach it"

const twoPlaces: Judgement = ({ clients }) =>
  clients.flatMap(({ name, twoPlaces }) =>
    twoPlaces === undefined
      ? []
      : [
          trouble(
            "failing",
            `the key of ${name} is in use at two places at a time, ${list(twoPlaces.endpoints)}`,
            twoPlaces.at,
            "give every device a key of its own",
            [name]
          )
        ]
  )

const clocksAhead: Judgement = ({ clients }) =>
  clients.flatMap(({ clockWasAheadMs, name }) =>
    clockWasAheadMs === undefined
      ? []
      : [
          trouble(
            "note",
            `the clock of ${name} was ${formatAge(clockWasAheadMs)} ahead before`,
            null,
            "set it by NTP",
            [name]
          )
        ]
  )

/** Without IPv6 on the device there is no way out either. */
const noIpv6: Judgement = ({ ipv6 }) =>
  [ipv6?.sockets ?? null, ipv6?.device ?? ipv6?.wayOut ?? null].flatMap((part) =>
    part === null
      ? []
      : [trouble("note", part.why, part.since, "IPv4 goes on; nothing is to be done where that will do")]
  )

const foreignNetworks: Judgement = ({ foreignNetworks = [] }) =>
  foreignNetworks.map(({ clients, network, who }) =>
    clients.length === 0
      ? trouble("note", `${network} is left to the host, in use by ${who}; no client is in it`, null, "")
      : trouble(
          "failing",
          `${network} is left to the host, in use by ${who}: no replies to ${list(clients)}`,
          null,
          "give these clients other addresses, or move network:",
          clients
        )
  )

/** Addresses that were kept from clients, the last one as an example. */
const filteredAnswers: Judgement = ({ controlPlane: { filtered } }) => {
  if (filtered === undefined || filtered.last === null) return []
  const { address, at, client, name, why } = filtered.last
  return [
    trouble(
      "note",
      `${counted(filtered.count, "address", "addresses")} left out of DNS answers, the last one ${name} at ${address} (${why}) for ${client}`,
      at,
      "a resource with cidr: for its network would let it pass",
      [client, name]
    )
  ]
}

const privateDns: Judgement = ({ counters }) => {
  const refused = counters.dataPlane["outbound.private_dns_refused"] ?? 0
  return refused === 0
    ? []
    : [
        trouble(
          "odd",
          `DNS through the Internet resource: ${counted(refused, "packet")} to a private DNS server refused, so names outside of resources fail`,
          null,
          "give clients a public DNS server, or theirs a resource of its own"
        )
      ]
}

const unknownDevices: Judgement = ({ unknownDevices = [] }) =>
  unknownDevices.map(({ endpoint, handshakes, latest, publicKey }) =>
    trouble(
      "note",
      `an unknown device asks for a session from ${endpoint}, ${times(handshakes)}, its key is ${publicKey}`,
      latest,
      `if it is one of yours: sallyport client add NAME --public-key ${publicKey}`
    )
  )

/** Within this time the old key ends. */
const soonMs = 3 * 86_400_000

const keyRotation: Judgement = ({ at, clients, gateway: { endingKey } }) => {
  if (endingKey === undefined) return []
  const left = clients.flatMap(({ gatewayKey, name }) => (gatewayKey === "current" ? [] : [name]))
  const leftMs = endingKey.endsAt - at
  const end =
    leftMs > 0
      ? `the one before answers for another ${formatAge(leftMs)}`
      : "the one before has had its date, and answers until the gateway has run with it for all of its days"
  return left.length === 0
    ? [trouble("note", `all clients have the gateway's new key; ${end}`, null, "sallyport key rotate --finish ends it")]
    : [
        trouble(
          leftMs < soonMs ? "odd" : "note",
          `${list(left)} of ${counted(clients.length, "client")} ${left.length === 1 ? "has" : "have"} not taken the gateway's new key; ${end}`,
          null,
          "give them new files: sallyport client-config NAME",
          left
        )
      ]
}

const lostKeys: Judgement = ({ clients }) => {
  const lost = clients.flatMap(({ gatewayKey, name }) => (gatewayKey === "gone" ? [name] : []))
  return lost.length === 0
    ? []
    : [
        trouble(
          "odd",
          `the gateway's key that ${list(lost)} had is no more: ${lost.length === 1 ? "it" : "they"} cannot connect`,
          null,
          "give them new files: sallyport client-config NAME",
          lost
        )
      ]
}

const judgements: ReadonlyArray<Judgement> = [
  workerDown,
  firewallLosses,
  hostWrong,
  controlPlane,
  siteAway,
  refusedPolicy,
  silentGateways,
  silentServers,
  defects,
  silentAddresses,
  failingNames,
  unusedAnswers,
  twoPlaces,
  foreignNetworks,
  unknownDevices,
  lostKeys,
  keyRotation,
  workerRestarts,
  firewallUncounted,
  httpTaken,
  privateDns,
  noIpv6,
  filteredAnswers,
  expiredGrants,
  hostRepaired,
  clocksAhead,
  firewallUnjudged
]

const trouble = (
  gravity: Gravity,
  what: string,
  since: number | null,
  next: string,
  about: ReadonlyArray<string> = []
): Trouble => ({ gravity, what, since, next, about })

const times = (count: number): string => (count === 1 ? "once" : `${count} times`)

/** `alice`, `3 clients`. */
const clientsOf = (clients: ReadonlyArray<string>): string => {
  const different = new Set(clients)
  return different.size === 1 ? clients[0]! : `${different.size} clients`
}
