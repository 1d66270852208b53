/** What `doctor` makes of its facts: one small judgement for each, and nothing else decides it. Pure. */
import { enlarge, isFull } from "../host/connectionTable.ts"
import { isLoopback, isUnspecified, parseAddress } from "../packet/address.ts"
import { formatHostPort } from "../packet/endpoint.ts"
import { fail, type Judged, pass, type Row, type Verdict, verdicts, warn } from "./doctorRow.ts"
import type { DoctorFacts, Examined, HostFacts, Look } from "./doctorFacts.ts"
import { judgeSite } from "./doctorSite.ts"
import { endpointInside } from "./endpointInside.ts"
import { formatAge } from "./formatAge.ts"
import { formatBytes } from "./statusSections.ts"
import { counted, list } from "./textTable.ts"
import { freeHttpAddress, type Gravity, httpSetting, troublesOf } from "./troubles.ts"

/** All rows, what fails first; of equal verdict in the order of the checks. */
export const doctorSheet = (facts: DoctorFacts): ReadonlyArray<Row> =>
  [...file(facts), ...gateway(facts), ...surroundings(facts)].toSorted(
    (a, b) => verdicts.indexOf(a.verdict) - verdicts.indexOf(b.verdict)
  )

const rows = (check: string, judged: ReadonlyArray<Judged>): ReadonlyArray<Row> =>
  judged.map((one) => ({ check, ...one }))

const file = ({ file }: DoctorFacts): ReadonlyArray<Row> =>
  rows(
    "file",
    "problems" in file
      ? file.problems.map((problem) => fail(problem))
      : [...file.broken.map((test) => fail(test)), ...file.warnings.map((warning) => warn(warning)), pass(file.what)]
  )

const verdictOf: Readonly<Record<Gravity, Verdict | null>> = {
  outage: "fail",
  failing: "fail",
  odd: "warn",
  note: null
}

/** What a running gateway says is wrong; its notes are no matter of a sheet. */
const gateway = ({ gateway, socket }: DoctorFacts): ReadonlyArray<Row> => {
  if (gateway._tag === "Absent") return rows("gateway", [warn(`none runs (nothing at ${socket})`, "sallyport up")])
  if (gateway._tag === "Silent") return rows("gateway", [fail(gateway.why)])
  const { at, clients, gateway: about } = gateway.report
  const troubles = troublesOf(gateway.report).flatMap(({ gravity, next, since, what }): ReadonlyArray<Judged> => {
    const verdict = verdictOf[gravity]
    const age = since === null ? "" : `, for ${formatAge(at - since)}`
    return verdict === null ? [] : [{ verdict, what: `${what}${age}`, next }]
  })
  const connected = clients.filter((client) => client.connected).length
  const up = `it runs, up ${formatAge(at - about.startedAt)}, ${counted(clients.length, "client")}, ${connected} connected`
  return rows("gateway", [...troubles, pass(up)])
}

const surroundings = (facts: DoctorFacts): ReadonlyArray<Row> => {
  const { host, wanted } = facts
  if (host === null || wanted === null) {
    return rows("host", [
      warn("the host was not looked at: what the gateway needs is not known", "mend the file first")
    ])
  }
  const free = facts.gateway._tag === "Absent"
  return [
    ...rows("tools", tools(host)),
    ...rows("tun", [...seen(host.tun, tun), ...(free ? seen(host.deviceTaken, orFail) : [])]),
    ...rows("port", [...port(facts, wanted, host), ...(free ? seen(host.dnsTaken, orFail) : [])]),
    ...rows("http", http(facts, wanted, host)),
    ...rows("clock", seen(host.clock, clock)),
    ...rows("endpoint", endpoint(facts, wanted, host)),
    ...rows("resolvers", resolvers(facts)),
    ...rows("site", judgeSite(facts, wanted, host)),
    ...rows("forwarding", seen(host.forwarding, forwarding)),
    ...rows(
      "firewall",
      seen(host.firewall, (takers) => firewall(wanted, takers))
    ),
    ...rows("ranges", seen(host.overlaps, overlaps)),
    ...rows(
      "mtu",
      seen(host.uplinks, (uplinks) => mtu(facts, wanted, uplinks))
    ),
    ...rows("ipv6", [facts.ipv6 === null ? pass("the host has it, and a way out for it") : warn(facts.ipv6)]),
    ...rows(
      "conntrack",
      seen(host.conntrack, (table) => conntrack(wanted, table))
    ),
    ...rows(
      "disk",
      seen(host.disk, (disk) => stateDisk(wanted, disk))
    )
  ]
}

type Found<L> = Extract<L, { readonly found: unknown }>["found"]

const seen = <A>(look: Look<A>, judge: (found: A) => ReadonlyArray<Judged>): ReadonlyArray<Judged> =>
  "found" in look ? judge(look.found) : [warn(`could not be looked at: ${look.unseen}`)]

const orFail = (problem: string | null): ReadonlyArray<Judged> => (problem === null ? [] : [fail(problem)])

const tools = ({ tools }: HostFacts): ReadonlyArray<Judged> =>
  tools.map(({ name, problem, version }) => (problem === null ? pass(version ?? name) : fail(problem)))

const tun = (problem: string | null): ReadonlyArray<Judged> => [
  problem === null ? pass("/dev/net/tun can be opened") : fail(problem)
]

const port = ({ gateway }: DoctorFacts, { kind, plan }: Examined, { portTaken }: HostFacts): ReadonlyArray<Judged> =>
  seen(portTaken, (taken) => {
    const { listenPort } = plan
    switch (gateway._tag) {
      case "Runs":
        if (taken !== null) return [pass(`the gateway listens on UDP port ${listenPort}`)]
        // A portal's clients are told the port.
        return kind === "portal"
          ? []
          : [fail(`the gateway runs, but not on UDP port ${listenPort}, which the file names`, "restart the gateway")]
      case "Absent":
        if (taken === null) return [pass(`UDP port ${listenPort} is free`)]
        return [kind === "portal" ? warn(`${taken}; the gateway takes another one`) : fail(taken)]
      case "Silent":
        return taken === null ? [pass(`UDP port ${listenPort} is free`)] : [warn(`${taken}, unless it is the gateway`)]
    }
  })

/** A running gateway tells of it by itself. */
const http = (
  { gateway }: DoctorFacts,
  { kind, listenHttp }: Examined,
  { httpTaken, ownAddresses }: HostFacts
): ReadonlyArray<Judged> => {
  if (listenHttp === null || gateway._tag !== "Absent") return []
  const { host, port } = listenHttp
  const where = formatHostPort(host, port)
  const address = parseAddress(host)
  const anyHas = address === undefined || isUnspecified(address) || isLoopback(address)
  if (!anyHas && "found" in ownAddresses && !ownAddresses.found.includes(host)) {
    return [
      warn(
        `this host has no address ${host}: metrics, health and dashboard cannot be served at ${where}`,
        `set ${httpSetting(kind)} to an address of this host`
      )
    ]
  }
  return seen(httpTaken, (taken) => [
    taken
      ? warn(
          `something listens at TCP ${where}: metrics, health and dashboard may not be served there`,
          freeHttpAddress(kind, port)
        )
      : pass(`TCP ${where} is free`)
  ])
}

/** Files are stamped, and handshakes of clients dated, by clocks that are set every now and then. */
const mostAheadMs = 2_000

const clock = ({ aheadMs, synchronized }: Found<HostFacts["clock"]>): ReadonlyArray<Judged> => [
  ...(aheadMs <= mostAheadMs
    ? []
    : [
        fail(
          `the clock is behind: the state was written ${formatAge(aheadMs)} from now, and clients do not answer a gateway that was ahead before`,
          'set it, and keep it: run "timedatectl set-ntp true"'
        )
      ]),
  synchronized
    ? pass("the kernel's clock is synchronized")
    : warn(
        "the kernel's clock is not synchronized: expiry and handshakes go by it",
        'run "timedatectl set-ntp true", or install an NTP service such as chrony'
      )
]

const endpoint = (
  { endpoint: addresses }: DoctorFacts,
  { endpoint: { host, port }, kind, routed }: Examined,
  { ownAddresses }: HostFacts
): ReadonlyArray<Judged> => {
  const called = kind === "portal" ? "the portal" : "the endpoint"
  if (addresses.length === 0) {
    return [
      fail(`${called} ${host} does not resolve here`, `look at what "getent ahosts ${host}" says, and at its zone`)
    ]
  }
  const inside = endpointInside(kind, addresses, routed)
  if (inside.length > 0) return inside.map((line) => warn(line))
  const own = "found" in ownAddresses ? new Set(ownAddresses.found) : null
  const isHere = own === null || addresses.some((address) => own.has(address))
  const forwarded =
    kind === "portal" || isHere ? "" : `, none of this host's: what has it must send UDP port ${port} here`
  return [pass(`${host === addresses[0] ? called : `${host} is`} ${list(addresses)}${forwarded}`)]
}

const resolvers = ({ servers }: DoctorFacts): ReadonlyArray<Judged> =>
  [...Map.groupBy(servers, ({ set }) => set)].flatMap(([set, all]) => {
    const none = all.every(({ latencyMs }) => latencyMs === null)
    return all.map(({ detail, latencyMs, server }) => {
      if (server === null) return fail(`${set}: ${detail ?? "it has no server"}`)
      if (latencyMs !== null) {
        const said = detail === null ? "" : ` (${detail})`
        return pass(`${set}: ${server} answers after ${Math.max(1, Math.round(latencyMs))} ms${said}`)
      }
      const what = `${set}: ${server} does not answer${detail === null ? "" : `: ${detail}`}`
      const proof = /^(tls|https):/.test(server) ? "is its certificate as the file has it, " : ""
      const next = `is it up, ${proof}and is there a way to it and back?`
      return none ? fail(what, next) : warn(what, next)
    })
  })

const forwarding = (problems: Readonly<Record<4 | 6, string | null>>): ReadonlyArray<Judged> =>
  ([4, 6] as const).map((family) => {
    const problem = problems[family]
    if (problem === null) return pass(`IPv${family} is forwarded, or will be when the gateway runs`)
    return family === 4 ? fail(problem) : warn(problem)
  })

const firewall = ({ plan }: Examined, takers: Found<HostFacts["firewall"]>): ReadonlyArray<Judged> => {
  if (takers.length === 0) return [pass("no rule of others is seen to take the gateway's packets")]
  if (plan.firewall === "integrate") {
    return [pass(`the gateway adds accepting rules of its own to the chains of others (firewall: integrate)`)]
  }
  return takers.map(({ blame: { fix, likely, sure }, what }) =>
    (sure ? fail : warn)(`${few(what)} ${sure ? "are" : "may be"} taken away by ${likely}`, fix)
  )
}

const few = ([first = "", ...more]: ReadonlyArray<string>): string =>
  more.length === 0 ? first : `${first} and ${counted(more.length, "other kind")} of packets`

const overlaps = ({ conflict, foreign }: Found<HostFacts["overlaps"]>): ReadonlyArray<Judged> =>
  conflict !== null
    ? [fail(conflict)]
    : foreign.length === 0
      ? [pass("the host uses none of the gateway's ranges")]
      : foreign.map(({ network, who }) =>
          warn(`${network} is left to the host, in use by ${who}: clients in it get no replies`)
        )

/** What WireGuard, UDP and IP put around a packet of the tunnel. */
const overhead = { 4: 60, 6: 80 } as const

const mtu = (
  { endpoint }: DoctorFacts,
  { plan }: Examined,
  uplinks: Found<HostFacts["uplinks"]>
): ReadonlyArray<Judged> => {
  if (uplinks.length === 0) {
    return [
      warn(
        "the host has no default route: only clients of its own networks can come",
        "give it one if that is not meant"
      )
    ]
  }
  const outer = plan.mtu + overhead[endpoint.some((address) => address.includes(":")) ? 6 : 4]
  return uplinks.map(({ device, mtu }) =>
    outer <= mtu
      ? pass(`packets of the tunnel (MTU ${plan.mtu}) leave by ${device} (MTU ${mtu}) in one piece`)
      : warn(
          `full packets of the tunnel (MTU ${plan.mtu}, ${outer} bytes outside) leave by ${device} (MTU ${mtu}) in pieces, which some networks drop`,
          `set mtu under network: to ${Math.max(1280, mtu - (outer - plan.mtu))}, or raise that of ${device}`
        )
  )
}

/** What is left is for the host. */
const nearlyFullAt = 0.8

const conntrack = ({ plan }: Examined, table: Found<HostFacts["conntrack"]>): ReadonlyArray<Judged> => {
  if (table === null) return [pass("connection tracking is not in use yet")]
  const { most, used } = table
  const what = `${used} of ${most} places of the kernel's connection tracking are taken`
  if (isFull(table)) return [fail(what, enlarge(table))]
  return [used >= most * nearlyFullAt && plan.masquerade ? warn(what, enlarge(table)) : pass(what)]
}

const littleSpace = 64 << 20
const noSpace = 1 << 20

const stateDisk = ({ stateDir }: Examined, { free, problem }: Found<HostFacts["disk"]>): ReadonlyArray<Judged> => {
  if (problem !== null) return [fail(problem)]
  const what = `${stateDir} can be written, ${formatBytes(free)} are free`
  if (free >= littleSpace) return [pass(what)]
  return [(free < noSpace ? fail : warn)(`${stateDir} has ${formatBytes(free)} left`, "free some space")]
}
