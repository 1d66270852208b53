/**
 * Which rule of the host's nftables rulesets takes a packet: a walk through the chains of its hook, in their order, as far
 * as the packet is known. What a rule asks that is not known here (marks, sets of others, iptables extensions) counts as
 * "perhaps": an "accept" behind it is passed over, since the packet is known to be lost; a "drop" is remembered.
 */
import { contains, equal, parseAddress, parseNetwork } from "../packet/address.ts"
import { at, isRecord, textAt } from "./nftJson.ts"

/** What is known of a packet; absent: not known. */
export interface KnownPacket {
  readonly hook: "prerouting" | "input" | "forward" | "output" | "postrouting"
  readonly family: "ipv4" | "ipv6"
  readonly protocol: "tcp" | "udp" | "icmp" | "any"
  readonly state: "new" | "established"
  readonly iifname?: string
  readonly oifname?: string
  readonly saddr?: string
  readonly daddr?: string
  readonly sport?: number
  readonly dport?: number
  /** "echo-request" … */
  readonly icmpType?: string
}

export interface LikelyRule {
  /** The chain that is hooked in: where an accepting rule belongs. */
  readonly base: ChainName
  /** Where the packet is taken. */
  readonly chain: ChainName
  /** The rule's handle; `null`: the base chain's policy. */
  readonly handle: number | null
  /** All that was asked on the way is known. */
  readonly sure: boolean
  /** It is a rule that takes some packets only, by what is not known. */
  readonly conditional: boolean
}

export interface ChainName {
  readonly family: string
  readonly table: string
  readonly name: string
}

/** Entries of `nft -j list ruleset`. `ownTables` are passed over. */
export const likelyRule = (
  entries: ReadonlyArray<Readonly<Record<string, unknown>>>,
  packet: KnownPacket,
  ownTables: ReadonlyArray<string>
): LikelyRule | null => {
  const fits = (family: string) => family === "inet" || family === (packet.family === "ipv4" ? "ip" : "ip6")
  const rulesOf = new Map<string, Array<Rule>>()
  const bases: Array<BaseChain> = []
  for (const entry of entries) {
    const owner = { family: textAt(entry, "rule", "family"), table: textAt(entry, "rule", "table") }
    const expr = at(entry, "rule", "expr")
    if (fits(owner.family) && Array.isArray(expr)) {
      const key = `${owner.family} ${owner.table} ${textAt(entry, "rule", "chain")}`
      const rules = rulesOf.get(key) ?? []
      rules.push({ handle: Number(at(entry, "rule", "handle")), expr })
      rulesOf.set(key, rules)
    }
    const of = (field: string) => textAt(entry, "chain", field)
    if (of("hook") !== packet.hook || ownTables.includes(of("table")) || !fits(of("family"))) continue
    const name = { family: of("family"), table: of("table"), name: of("name") }
    bases.push({ ...name, priority: Number(at(entry, "chain", "prio") ?? 0), policy: of("policy") })
  }
  let perhaps: LikelyRule | null = null
  /** An "accept" was passed over that may be meant for such packets. */
  let doubt = false

  /** `true`: the rest of the base chain is not met. */
  const walk = (base: ChainName, chain: ChainName, depth: number): LikelyRule | boolean => {
    if (depth > 16) return false
    for (const { expr, handle } of rulesOf.get(`${chain.family} ${chain.table} ${chain.name}`) ?? []) {
      let sure = true
      for (const statement of expr) {
        const verdict = verdictOf(statement, packet)
        if (verdict === "no") break
        if (verdict === "perhaps") sure = false
        if (verdict === "drop") {
          const found = { base, chain, handle, sure: sure && !doubt, conditional: !sure }
          if (sure) return found
          perhaps ??= found
        }
        if (verdict === "accept" && sure) return true
        if (verdict === "accept") doubt = true
        if (verdict === "return" && sure) return false
        if (typeof verdict === "object") {
          const result = walk(base, { ...chain, name: verdict.target }, depth + 1)
          if (sure && result !== false) return result
          if (typeof result === "object") perhaps ??= { ...result, sure: false, conditional: true }
          if (sure && verdict.final) return false
        }
      }
    }
    return false
  }

  for (const { family, name, policy, table } of bases.toSorted((a, b) => a.priority - b.priority)) {
    const base = { family, table, name }
    const result = walk(base, base, 0)
    if (typeof result === "object") return result
    if (!result && policy === "drop") return { base, chain: base, handle: null, sure: !doubt, conditional: false }
  }
  return perhaps
}

type Verdict =
  | "yes"
  | "no"
  | "perhaps"
  | "accept"
  | "drop"
  | "return"
  | { readonly target: string; readonly final: boolean }

const verdictOf = (statement: unknown, packet: KnownPacket): Verdict => {
  const [kind = "", value] = Object.entries(isRecord(statement) ? statement : {})[0] ?? []
  switch (kind) {
    case "accept":
    case "return":
      return kind
    case "drop":
    case "reject":
      return "drop"
    case "jump":
    case "goto":
      return { target: textAt(value, "target"), final: kind === "goto" }
    case "match":
      return matches(value, packet)
    case "vmap":
      return mapped(value, packet)
    case "xt":
      return extension(value)
    case "counter":
    case "log":
    case "comment":
    case "mangle":
    case "set":
      return "yes"
    default:
      return "perhaps"
  }
}

/** Extensions of iptables: older versions of nft do not say which. */
const extension = (value: unknown): Verdict => {
  const name = at(value, "name")
  if (at(value, "type") !== "target") return name === "comment" ? "yes" : "perhaps"
  return name === "REJECT" || name === "DROP" ? "drop" : "yes"
}

const matches = (match: unknown, packet: KnownPacket): "yes" | "no" | "perhaps" => {
  const [left, op, right] = [at(match, "left"), at(match, "op"), at(match, "right")]
  const values = known(left, packet)
  if (values === undefined) return isLoopback(left, right) ? (op === "!=" ? "yes" : "no") : "perhaps"
  // A header that the packet does not have.
  if (values.length === 0) return "no"
  const result = values.some((value) => includes(right, value))
    ? true
    : values.some((value) => includes(right, value) === undefined)
      ? undefined
      : false
  if (result === undefined) return "perhaps"
  return (op === "!=") === result ? "no" : "yes"
}

const mapped = (vmap: unknown, packet: KnownPacket): Verdict => {
  const values = known(at(vmap, "key"), packet)
  const pairs = at(vmap, "data", "set")
  if (values === undefined || !Array.isArray(pairs)) return "perhaps"
  for (const pair of pairs) {
    const [element, verdict]: ReadonlyArray<unknown> = Array.isArray(pair) ? pair : []
    if (values.some((value) => includes(element, value) === true)) return verdictOf(verdict, packet)
  }
  return "no"
}

/** What the packet has there: one of these. */
const known = (left: unknown, packet: KnownPacket): ReadonlyArray<string | number> | undefined => {
  const one = (value: string | number | undefined) => (value === undefined ? undefined : [value])
  if (at(left, "ct", "key") === "state") return [packet.state]
  const protocol = protocolNames[packet.protocol][packet.family]
  switch (at(left, "meta", "key")) {
    case "iifname":
    case "iif":
      return one(packet.hook === "output" ? "" : packet.iifname)
    case "oifname":
    case "oif":
      return one(beforeRouting(packet) ? "" : packet.oifname)
    case "nfproto":
      return [packet.family]
    case "protocol":
      return [packet.family === "ipv4" ? "ip" : "ip6"]
    case "l4proto":
      return protocol
    default:
      break
  }
  const header = at(left, "payload", "protocol")
  const field = at(left, "payload", "field")
  if (header === "ip" || header === "ip6") {
    if ((header === "ip") !== (packet.family === "ipv4")) return []
    if (field === "saddr" || field === "daddr") return one(packet[field])
    return field === "protocol" || field === "nexthdr" ? protocol : undefined
  }
  if (typeof header !== "string") return undefined
  if (header !== "th" && protocol !== undefined && !protocol.includes(sameName(header))) return []
  if (field === "type") return one(packet.icmpType)
  return field === "sport" || field === "dport" ? one(packet[field]) : undefined
}

/** Nothing of the gateway's own traffic comes from the host itself. */
const isLoopback = (left: unknown, right: unknown): boolean => {
  const key = at(left, "meta", "key")
  return right === "lo" && (key === "iifname" || key === "iif")
}

const beforeRouting = ({ hook }: KnownPacket): boolean => hook === "prerouting" || hook === "input"

const protocolNames: Readonly<
  Record<KnownPacket["protocol"], Readonly<Record<KnownPacket["family"], ReadonlyArray<string | number> | undefined>>>
> = {
  tcp: { ipv4: ["tcp", 6], ipv6: ["tcp", 6] },
  udp: { ipv4: ["udp", 17], ipv6: ["udp", 17] },
  icmp: { ipv4: ["icmp", 1], ipv6: ["ipv6-icmp", "icmpv6", 58] },
  any: { ipv4: undefined, ipv6: undefined }
}

const sameName = (protocol: string): string => (protocol === "icmpv6" ? "ipv6-icmp" : protocol)

/** `undefined`: cannot tell. */
const includes = (right: unknown, value: string | number): boolean | undefined => {
  if (typeof right === "string" && right.startsWith("@")) return undefined
  if (typeof right === "string" && typeof value === "string") {
    if (right.endsWith("*")) return value.startsWith(right.slice(0, -1))
    const [a, b] = [parseAddress(right), parseAddress(value)]
    if (a === undefined || b === undefined) return right === value
    return equal(a, b)
  }
  if (typeof right === "number" || typeof right === "string") return right === value
  if (Array.isArray(right)) return anyOf(right, value)
  const set = at(right, "set")
  if (Array.isArray(set)) return anyOf(set, value)
  const network = parseNetwork(`${textAt(right, "prefix", "addr")}/${String(at(right, "prefix", "len"))}`)
  if (network !== undefined) {
    const address = typeof value === "string" ? parseAddress(value) : undefined
    return address === undefined ? undefined : contains(network, address)
  }
  const range = at(right, "range")
  const [from, to]: ReadonlyArray<unknown> = Array.isArray(range) ? range : []
  const numbers = typeof value === "number" && typeof from === "number" && typeof to === "number"
  return numbers ? from <= value && value <= to : undefined
}

const anyOf = (list: ReadonlyArray<unknown>, value: string | number): boolean | undefined => {
  const results = list.map((entry) => includes(entry, value))
  return results.some((r) => r === true) || (results.some((r) => r === undefined) ? undefined : false)
}

interface Rule {
  readonly handle: number
  readonly expr: ReadonlyArray<unknown>
}

interface BaseChain extends ChainName {
  readonly priority: number
  readonly policy: string
}
