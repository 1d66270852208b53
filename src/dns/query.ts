import { isIpv4, parseAddress } from "../packet/address.ts"
import { decode, decodeHeader } from "./decode.ts"
import { encode } from "./encode.ts"
import { emptyMessage, isMalformed, type Message, type ResourceRecord } from "./message.ts"
import { canonicalName, type DomainText, isWithin, sameName } from "./name.ts"
import { classInternet, opcodeQuery, rcode, rcodeText, recordType, udpPayloadSize } from "./registry.ts"
import type { UpstreamQuestion } from "./Upstream.ts"

/** The longest TTL that is believed, in seconds. */
export const maxTtl = 86_400

/** More CNAMEs than this in one answer are a loop or nonsense. */
const maxChain = 16

/** More addresses than this of one family are cut off. */
const maxAddresses = 64

/** What we ask: one question of class IN, recursion desired. */
export interface Query extends UpstreamQuestion {
  readonly id: number
}

/** The bytes to send; `null` when the domain is no DNS name. */
export const encodeQuery = (query: Query, edns: boolean): Uint8Array | null =>
  encode({
    ...emptyMessage,
    id: query.id,
    recursionDesired: true,
    checkingDisabled: query.checkingDisabled ?? false,
    authenticData: query.authenticData ?? false,
    questions: [{ name: query.domain, type: query.type, class: classInternet }],
    edns: edns ? { udpPayloadSize, version: 0, dnssecOk: query.dnssecOk ?? false, options: [] } : null
  })

/** What bytes from the asked server are to our query. */
export type Verdict =
  /** NOERROR or NXDOMAIN, complete. */
  | { readonly _tag: "Usable"; readonly message: Message }
  /** Not an answer to this query; perhaps forged. Keep waiting. */
  | { readonly _tag: "Foreign" }
  /** Ask again over TCP. */
  | { readonly _tag: "Truncated" }
  /** The server does not understand EDNS (RFC 6891 §6.2.2): ask again without. */
  | { readonly _tag: "NoEdns" }
  /** The server could not answer. */
  | { readonly _tag: "Failed"; readonly detail: string }

/** @param withEdns whether the query that is answered had an OPT record */
export const judge = (query: Query, bytes: Uint8Array, transport: "udp" | "tcp", withEdns: boolean): Verdict => {
  const header = decodeHeader(bytes)
  if (header?.id !== query.id || !header.response || header.opcode !== opcodeQuery) return { _tag: "Foreign" }
  const message = decode(bytes)
  if (isMalformed(message)) {
    // Some servers cut a record in two when they truncate.
    if (header.truncated && transport === "udp") return { _tag: "Truncated" }
    return { _tag: "Failed", detail: `malformed answer (${message.reason})` }
  }
  const refusesEdns = message.rcode === rcode.FormErr || message.rcode === rcode.NotImp
  const [question] = message.questions
  if (question === undefined && refusesEdns) {
    // A server that cannot read the query may leave the question out.
    return withEdns ? { _tag: "NoEdns" } : { _tag: "Failed", detail: rcodeText(message.rcode) }
  }
  if (
    message.questions.length !== 1 ||
    question?.type !== query.type ||
    question.class !== classInternet ||
    !sameName(question.name, query.domain)
  ) {
    return { _tag: "Foreign" }
  }
  if (refusesEdns && withEdns && message.edns === null) return { _tag: "NoEdns" }
  if (message.truncated) {
    return transport === "udp" ? { _tag: "Truncated" } : { _tag: "Failed", detail: "truncated over TCP" }
  }
  if (message.rcode !== rcode.NoError && message.rcode !== rcode.NXDomain) {
    return { _tag: "Failed", detail: rcodeText(message.rcode) }
  }
  return { _tag: "Usable", message }
}

/** What a usable answer says about one address family. `ttl` in seconds, 0 to `maxTtl`. */
export type FamilyAnswer =
  | { readonly _tag: "Addresses"; readonly addresses: ReadonlyArray<string>; readonly ttl: number }
  /** The chain ends at a name the server said nothing about: ask for it. */
  | { readonly _tag: "Alias"; readonly target: DomainText; readonly ttl: number }
  | { readonly _tag: "NameNotFound"; readonly ttl: number }
  | { readonly _tag: "NoData"; readonly ttl: number }
  | { readonly _tag: "Unusable"; readonly detail: string }

/** Follows the CNAME chain of a usable answer to an A or AAAA query and collects the addresses at its end. */
export const readAddresses = (domain: DomainText, type: number, message: Message): FamilyAnswer => {
  let name = canonicalName(domain)
  let ttl = maxTtl
  const aliases = new Map<string, ResourceRecord>()
  const addresses = new Map<string, Array<ResourceRecord>>()
  for (const record of message.answers) {
    if (record.class !== classInternet) continue
    const owner = canonicalName(record.name)
    if (record.type === recordType.CNAME && !aliases.has(owner)) aliases.set(owner, record)
    if (record.type === type) addresses.set(owner, [...(addresses.get(owner) ?? []), record])
  }
  for (let hops = 0; aliases.has(name); hops++) {
    const alias = aliases.get(name)!
    if (hops === maxChain || alias.data._tag !== "Name") return { _tag: "Unusable", detail: "CNAME chain too long" }
    ttl = Math.min(ttl, alias.ttl)
    name = canonicalName(alias.data.name)
  }
  const found = new Set<string>()
  for (const record of addresses.get(name) ?? []) {
    if (record.data._tag !== "Address" || found.size === maxAddresses) continue
    // An AAAA record with an IPv4-mapped address names no IPv6 host.
    if (type === recordType.AAAA && isIpv4(parseAddress(record.data.address)!)) continue
    ttl = Math.min(ttl, record.ttl)
    found.add(record.data.address)
  }
  if (found.size > 0) return { _tag: "Addresses", addresses: [...found], ttl }
  const negative = negativeTtl(name, message)
  if (message.rcode === rcode.NXDomain) return { _tag: "NameNotFound", ttl: Math.min(ttl, negative ?? 0) }
  if (aliases.size > 0 && negative === null && !addresses.has(name) && name !== canonicalName(domain)) {
    return { _tag: "Alias", target: name, ttl }
  }
  return { _tag: "NoData", ttl: Math.min(ttl, negative ?? 0) }
}

/**
 * How long the absence of `name` may be remembered: min(TTL, MINIMUM) of the zone's SOA record (RFC 2308 §5), in
 * seconds; `null` without one.
 */
const negativeTtl = (name: DomainText, message: Message): number | null => {
  for (const record of message.authorities) {
    if (record.data._tag === "Soa" && isWithin(name, record.name)) {
      return Math.min(record.ttl, record.data.minimum, maxTtl)
    }
  }
  return null
}
