/**
 * Counts the gateway's own traffic where it comes into the host's filters and where it leaves them, in an nftables table of
 * its own beside the gateway's. What has come in and never leaves, somebody else has taken: rules of whatever kind, reverse
 * path filters, forwarding that is off. Each packet pays for it: the table is there while it is needed (`countingNeed.ts`).
 */
import { firewallPriority, firewallTable, networkSets, removeScript } from "./firewall.ts"
import type { HostPlan } from "./HostNetwork.ts"
import { textOf, viewOf } from "./netlink.ts"
import type { CountedElement } from "./nftNetlink.ts"

/**
 * The ways of packets, each with a first and a last count.
 *
 * | way       | from → to                                                             |
 * | --------- | --------------------------------------------------------------------- |
 * | `begin`   | TCP's first packets and pings of clients, through `raw` rules and connection tracking, by the device they would leave at |
 * | `enter`   | connections of clients, through everybody's `prerouting` rules        |
 * | `route`   | those to be forwarded, from there to the first `forward` rule         |
 * | `forward` | through everybody's `forward` rules, by the device they leave at      |
 * | `flow`    | all other packets of clients there                                    |
 * | `return`  | what answers them, from connection tracking to the first `forward` rule |
 * | `back`    | through everybody's `forward` rules                                   |
 * | `service` | clients' packets to the gateway's own DNS and ping: `input` rules     |
 * | `answer`  | the gateway's answers to clients: `output` rules                      |
 * | `arrive`  | clients' WireGuard packets (and ICE's): up to the last `input` rule   |
 * | `send`    | the gateway's: `output` rules                                         |
 * | `listen`  | from the last `input` rule to the gateway's socket                    |
 */
const ways = [
  "begin",
  "enter",
  "route",
  "forward",
  "flow",
  "return",
  "back",
  "service",
  "answer",
  "arrive",
  "send",
  "listen"
] as const
export type Way = (typeof ways)[number]

/** Before and after all rules of others. Connection tracking works at -200. */
const [beforeAll, afterAll] = [-9_999, 9_999]
const tracked = -199

type End = "first" | "last"

/** Filled by packets: starts of connections, and what goes to the gateway itself. */
const setOf = (way: Way, end: End) => `path_${way}_${end}`
const byConnection = ["begin", "enter", "route", "forward", "service", "answer"] as const

/** One counter per family (and protocol): cheap enough for packets with data. */
const counterOf = (way: Way, end: End, ...rest: ReadonlyArray<string>) => ["path", way, end, ...rest].join("_")
const families = ["ipv4", "ipv6"] as const
const protocols = ["tcp", "udp", "icmp"] as const
/** Assigned numbers: a minimal system has no /etc/protocols, and nft neither knows all names there nor writes any. */
const numbers = { ipv4: { tcp: 6, udp: 17, icmp: 1 }, ipv6: { tcp: 6, udp: 17, icmp: 58 } } as const
const ends = ["first", "last"] as const

const perFamily = (way: Way, end: End): string =>
  `counter name meta nfproto map { ${families.map((f) => `${f} : "${counterOf(way, end, f)}"`).join(", ")} }`

const perProtocol = (way: Way, end: End): string => {
  const pairs = families.flatMap((f) =>
    protocols.map((p) => `${f} . ${numbers[f][p]} : "${counterOf(way, end, f, p)}"`)
  )
  return `counter name meta nfproto . meta l4proto map { ${pairs.join(", ")} }`
}

const perConnection = (way: Way, end: End, device: "iifname" | "oifname"): string =>
  `meta l4proto { 1, 6, 17, 58 } update @${setOf(way, end)} { meta nfproto . meta l4proto . ${device} counter }`

/** These are known for what they are without connection tracking. */
const begins = (end: End): string =>
  ["tcp flags & (syn | ack) == syn", "icmp type echo-request", "icmpv6 type echo-request"]
    .map((match) => `${match} update @${setOf("begin", end)} { meta nfproto . meta l4proto . fib daddr oif counter }`)
    .join("\n    ")

/** Routing answers what is too long for its way; so short is none (RFC 791). */
const short = "meta length <= 576"

/** Name of the table (family `inet`) that counts for one device. */
export const countingTable = (device: string): string => `${firewallTable(device)}.paths`

/** The gateway's tables of one device. */
export const ownTables = (device: string): ReadonlyArray<string> => [firewallTable(device), countingTable(device)]

/** Makes the table anew, in one transaction. */
export const countingScript = (plan: HostPlan): string => {
  const table = countingTable(plan.device)
  return `${removeScript(table)}
table inet ${table} {
${networkSets("tunnel", plan.tunnelNetworks)}
${objects()}
${chains(plan)}
}
`
}

/** Objects first counts are kept in come before those of last counts: they are read in this order. */
const objects = (): string => {
  const plain = ends.flatMap((end) => [
    ...(["flow", "arrive", "send"] as const).flatMap((way) => families.map((f) => counterOf(way, end, f))),
    ...(["return", "back"] as const).flatMap((way) =>
      families.flatMap((f) => protocols.map((p) => counterOf(way, end, f, p)))
    )
  ])
  return [
    ...plain.map((name) => `  counter ${name} { }`),
    ...pathSets.map(
      (name) =>
        `  set ${name} { typeof meta nfproto . meta l4proto . ${name.startsWith("path_begin") ? "iif" : "iifname"}; flags dynamic; size 1024; }`
    )
  ].join("\n")
}

/** Packets that begin as WireGuard's do: not those of whoever tries all ports, nor wrong checksums, which nobody takes. */
const wireguard = "ct state != invalid @th,64,32 { 0x01000000, 0x02000000, 0x04000000 }"

/** Where clients come unasked, strangers' packets must arrive; else only answers, as a firewall may have it. */
const chains = (plan: HostPlan): string => {
  const { device, dnsPort, listenPort } = plan
  const ours = plan.clientsCallFirst ? wireguard : "ct state established,related"
  return `  chain prerouting_begin {
    type filter hook prerouting priority ${beforeAll}; policy accept;
    iifname != "${device}" accept
    ${begins("first")}
  }
  chain entered {
    ${begins("last")}
    ct state new ${perConnection("enter", "first", "iifname")}
  }
  chain prerouting_first {
    type filter hook prerouting priority ${tracked}; policy accept;
    iifname "${device}" goto entered
    udp dport ${listenPort} fib daddr type local ${ours} ${perFamily("arrive", "first")} accept
    ct direction reply ct original ip saddr @tunnel4 ${perProtocol("return", "first")}
    ct direction reply ct original ip6 saddr @tunnel6 ${perProtocol("return", "first")}
  }
  chain prerouting_last {
    type filter hook prerouting priority ${afterAll}; policy accept;
    iifname != "${device}" accept
    ct state != new accept
    ${perConnection("enter", "last", "iifname")}
    fib daddr type local accept
    fib daddr oif missing accept
    ${short} ip ttl > 1 ${perConnection("route", "first", "iifname")}
    ${short} ip6 hoplimit > 1 ${perConnection("route", "first", "iifname")}
  }
  chain routed {
    type filter hook forward priority ${firewallPriority - 1}; policy accept;
    iifname "${device}" ct state new ${short} ${perConnection("route", "last", "iifname")}
  }
  chain forward_first {
    type filter hook forward priority ${beforeAll}; policy accept;
    ${ofForward(device, "first")}
  }
  chain forward_last {
    type filter hook forward priority ${afterAll}; policy accept;
    ${ofForward(device, "last")}
  }
  chain input_first {
    type filter hook input priority ${beforeAll}; policy accept;
    ${ofService(device, dnsPort, "first")}
  }
  chain input_last {
    type filter hook input priority ${afterAll}; policy accept;
    ${ofService(device, dnsPort, "last")}
    iifname != "${device}" udp dport ${listenPort} ${ours} ${perFamily("arrive", "last")}
  }
  chain output_first {
    type filter hook output priority ${beforeAll}; policy accept;
    ${ofOutput(plan, "first")}
  }
  chain output_last {
    type filter hook output priority ${afterAll}; policy accept;
    ${ofOutput(plan, "last")}
  }`
}

const ofForward = (device: string, end: End): string =>
  [
    `iifname "${device}" ct state new ${perConnection("forward", end, "oifname")} accept`,
    `iifname "${device}" ct state != invalid ${perFamily("flow", end)} accept`,
    `oifname "${device}" ${perProtocol("back", end)}${end === "first" ? ` ${perProtocol("return", "last")}` : ""}`
  ].join("\n    ")

const ofService = (device: string, dnsPort: number, end: End): string =>
  [
    `iifname "${device}" meta l4proto { tcp, udp } th dport ${dnsPort} ${perConnection("service", end, "iifname")}`,
    `iifname "${device}" icmp type echo-request ${perConnection("service", end, "iifname")}`,
    `iifname "${device}" icmpv6 type echo-request ${perConnection("service", end, "iifname")}`
  ].join("\n    ")

/** The tunnel's own datagrams come first, as there are most of them. Errors about clients' packets are no answers of a service. */
const ofOutput = ({ device, dnsPort, listenPort }: HostPlan, end: End): string =>
  [
    `oifname != "${device}" udp sport ${listenPort} ${perFamily("send", end)} accept`,
    `oifname "${device}" meta l4proto { tcp, udp } th sport ${dnsPort} ${perConnection("answer", end, "oifname")}`,
    `oifname "${device}" icmp type echo-reply ${perConnection("answer", end, "oifname")}`,
    `oifname "${device}" icmpv6 type echo-reply ${perConnection("answer", end, "oifname")}`
  ].join("\n    ")

/** How many packets came and left so far, of one way, family and protocol. */
export interface PathCount {
  readonly way: Way
  readonly family: (typeof families)[number]
  readonly protocol: "tcp" | "udp" | "icmp" | "any"
  /** The device that `begin` and `forward` leave at; "" elsewhere. */
  readonly device: string
  readonly first: number
  readonly last: number
}

/** Sets that packets have filled, those of first counts before those of last counts: so they are to be read. */
export const pathSets: ReadonlyArray<string> = ends.flatMap((end) => byConnection.map((way) => setOf(way, end)))

/** The elements of one of these sets. */
export interface PathSet {
  readonly name: string
  readonly elements: ReadonlyArray<CountedElement>
}

/** `nameOf`: of the device with an index. */
export const pathCounts = (
  counters: ReadonlyArray<{ readonly name: string; readonly packets: number }>,
  sets: ReadonlyArray<PathSet>,
  nameOf: (index: number) => string
): ReadonlyArray<PathCount> => {
  const found = new Map<string, { -readonly [K in keyof PathCount]: PathCount[K] }>()
  const add = (name: string, path: Omit<PathCount, "way" | "first" | "last">, packets: number) => {
    const [, way, end] = name.split("_")
    if (!isWay(way) || (end !== "first" && end !== "last")) return
    const { device, family, protocol } = path
    const key = `${way} ${family} ${protocol} ${device}`
    const count = found.get(key) ?? { way, family, protocol, device, first: 0, last: 0 }
    count[end] += packets
    found.set(key, count)
  }
  for (const { name, packets } of counters) {
    const [, , , family, protocol = "any"] = name.split("_")
    if (isFamily(family) && isProtocol(protocol)) add(name, { family, protocol, device: "" }, packets)
  }
  for (const { elements, name } of sets) {
    for (const { key, packets } of elements) {
      const [nfproto, l4proto] = [key[0], key[4]]
      const family = nfproto === NFPROTO_IPV6 ? "ipv6" : "ipv4"
      const protocol = protocols.find((p) => numbers[family][p] === l4proto) ?? "icmp"
      const to = key.subarray(8)
      const device = to.length === 4 ? nameOf(viewOf(to).getUint32(0, true)) : textOf(to)
      add(name, { family, protocol, device: leavesBy(name) ? device : "" }, packets)
    }
  }
  return [...found.values()]
}

const NFPROTO_IPV6 = 10

const leavesBy = (set: string): boolean => set.startsWith("path_forward_") || set.startsWith("path_begin_")
const isFamily = (text: string | undefined): text is PathCount["family"] => families.some((family) => family === text)
const isProtocol = (text: string): text is PathCount["protocol"] =>
  text === "any" || protocols.some((protocol) => protocol === text)
const isWay = (text: string | undefined): text is Way => ways.some((way) => way === text)
