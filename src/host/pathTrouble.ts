/** A lost way and who is likely to blame, as one line for the operator. */
import type { HostPlan } from "./HostNetwork.ts"
import type { ChainName, KnownPacket } from "./likelyRule.ts"
import type { Way } from "./pathCounters.ts"
import type { Path, PathLoss } from "./pathLoss.ts"

/** Who takes the packets, and what lets them through. */
export interface Blame {
  /** "the rule … of the chain …". */
  readonly likely: string
  /** Commands, or words where there is none. */
  readonly fix: string
  /** It is known to take every such packet. */
  readonly sure: boolean
}

/** What is taken away: "clients' new TCP connections (IPv4, to lan0)". */
export const describePath = ({ device, family, protocol, way }: Path): string => {
  const details = [family === "ipv4" ? "IPv4" : "IPv6", ...(device === "" ? [] : [`to ${device}`])].join(", ")
  return `${subjects[way](protocol === "any" ? "" : protocol.toUpperCase())} (${details})`
}

/** The whole line. `ms`: since the first packet was missed. */
export const describeLoss = (loss: PathLoss, { fix, likely, sure }: Blame, ms: number): string => {
  const passed = loss.passed === 0 ? "none came through" : `${loss.passed} came through`
  const within = `${Math.max(1, Math.round(ms / 1000))} s`
  return `the host takes away ${describePath(loss)}: ${loss.lost} lost within ${within}, ${passed}. ${sure ? "It is" : "Most likely it is"} ${likely}: ${fix}`
}

const subjects: Readonly<Record<Way, (protocol: string) => string>> = {
  begin: (protocol) => `clients' new ${protocol} connections`,
  enter: (protocol) => `clients' new ${protocol} connections`,
  route: (protocol) => `clients' new ${protocol} connections`,
  forward: (protocol) => `clients' new ${protocol} connections`,
  flow: () => "clients' packets to resources",
  return: (protocol) => `${protocol} answers of resources`,
  back: (protocol) => `${protocol} answers of resources`,
  service: (protocol) =>
    protocol === "ICMP" ? "clients' pings of the gateway" : `clients' DNS questions by ${protocol}`,
  answer: (protocol) =>
    protocol === "ICMP" ? "the gateway's answers to pings" : `the gateway's DNS answers by ${protocol}`,
  arrive: () => "clients' tunnel packets",
  send: () => "the gateway's tunnel packets",
  listen: () => "clients' tunnel packets"
}

/** The hooks that packets of a way go through, and what is known of them there. */
export const packetsOf = (plan: HostPlan, { device, family, protocol, way }: Path): ReadonlyArray<KnownPacket> => {
  const v4 = family === "ipv4"
  const client = v4 ? neighbour(plan.gateway4) : neighbour(plan.gateway6)
  const gateway = v4 ? plan.gateway4 : plan.gateway6
  const base = { family, protocol } as const
  const out = { ...base, iifname: plan.device, saddr: client, state: way === "flow" ? "established" : "new" } as const
  const service = protocol === "icmp" ? { icmpType: "echo-request" } : { dport: plan.dnsPort }
  const udp = { family, protocol: "udp" } as const
  const unasked = plan.clientsCallFirst ? "new" : "established"
  switch (way) {
    case "begin":
    case "enter":
    case "route":
      return [{ ...out, hook: "prerouting" }]
    case "forward":
    case "flow":
      return [{ ...out, hook: "forward", ...(device === "" ? {} : { oifname: device }) }]
    case "return":
      return [{ ...base, hook: "prerouting", state: "established" }]
    case "back":
      return [{ ...base, hook: "forward", state: "established", oifname: plan.device, daddr: client }]
    case "service":
      return [{ ...out, ...service, hook: "input", daddr: gateway }]
    case "answer":
      return [{ ...base, hook: "output", state: "established", oifname: plan.device, saddr: gateway, daddr: client }]
    case "arrive":
      return (["prerouting", "input"] as const).map((hook) => ({
        ...udp,
        hook,
        state: unasked,
        dport: plan.listenPort
      }))
    case "send":
      return [{ ...udp, hook: "output", state: "established", sport: plan.listenPort }]
    case "listen":
      return []
  }
}

/** Rules at the top of a chain that let the packets through. `insert`: "nft insert rule ip filter FORWARD". */
export const acceptingRules = (plan: HostPlan, way: Way, { family, name, table }: ChainName): ReadonlyArray<string> => {
  const insert = `nft insert rule ${family} ${table} ${name}`
  return ruleMatches(plan, way).map((match) => `${insert} ${match} accept`)
}

/** The same for iptables-legacy, whose tables nft does not show. */
export const acceptingLegacyRules = (plan: HostPlan, { family, way }: Path): ReadonlyArray<string> => {
  const program = family === "ipv4" ? "iptables-legacy" : "ip6tables-legacy"
  const { device, listenPort } = plan
  const rules: Readonly<Record<Way, ReadonlyArray<string>>> = {
    ...blank,
    begin: [`-t raw -I PREROUTING -i ${device} -j ACCEPT`],
    enter: [`-t mangle -I PREROUTING -i ${device} -j ACCEPT`],
    route: [`-t mangle -I PREROUTING -i ${device} -j ACCEPT`],
    forward: [
      `-I FORWARD -i ${device} -j ACCEPT`,
      `-I FORWARD -o ${device} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`
    ],
    service: [`-I INPUT -i ${device} -j ACCEPT`],
    answer: [`-I OUTPUT -o ${device} -j ACCEPT`],
    arrive: [`-I INPUT -p udp --dport ${listenPort} -j ACCEPT`],
    send: [`-I OUTPUT -p udp --sport ${listenPort} -j ACCEPT`]
  }
  const both = way === "flow" || way === "back" ? rules.forward : rules[way]
  return both.map((rule) => `${program} ${rule}`)
}

const ruleMatches = ({ device, listenPort }: HostPlan, way: Way): ReadonlyArray<string> => {
  switch (way) {
    case "begin":
    case "enter":
    case "route":
    case "service":
      return [`iifname ${device}`]
    case "forward":
    case "flow":
    case "return":
    case "back":
      return [`iifname ${device}`, `oifname ${device} ct state established,related`]
    case "answer":
      return [`oifname ${device}`]
    case "arrive":
    case "listen":
      return [`udp dport ${listenPort}`]
    case "send":
      return [`udp sport ${listenPort}`]
  }
}

const blank: Readonly<Record<Way, ReadonlyArray<string>>> = {
  begin: [],
  enter: [],
  route: [],
  forward: [],
  flow: [],
  return: [],
  back: [],
  service: [],
  answer: [],
  arrive: [],
  send: [],
  listen: []
}

/** An address of the tunnel beside the gateway's own: a client's. */
const neighbour = (gateway: string): string =>
  gateway.replace(/([0-9a-f]+)$/i, (last) =>
    gateway.includes(":") ? (Number.parseInt(last, 16) + 1).toString(16) : String(Number(last) + 1)
  )
