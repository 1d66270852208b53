import { isIpv4, parseAddress } from "../packet/address.ts"
import { decodeAnswer, decodeHeader } from "./decode.ts"
import { encode } from "./encode.ts"
import { emptyMessage, isMalformed, type Message, type ResourceRecord } from "./message.ts"
import { canonicalName, type DomainText, isWithin, sameName } from "./name.ts"
import { classInternet, opcodeQuery, rcode, rcodeText, recordType, udpPayloadSize } from "./registry.ts"
import type { UpstreamQuestion } from "./Upstream.ts"

/** The longest TTL that is believed, in seconds. */
export const maxTtl = 86_400

/** More CNAMEs than this in one answer are a loop or nonsense. */
export const maxChain = 16

/** More addresses than this of one family are cut off. */
const maxAddresses = 64

/** What we ask: one question of class IN, recursion desired. */
export interface Query extends UpstreamQuestion {
  readonly id: number
}

/**
 * The bytes to send; `null` when the domain is no DNS name. With EDNS also AD: the asker understands it (RFC 6840 §5.7).
 */
export const encodeQuery = (query: Query, edns: boolean): Uint8Array | null =>
  encode({
    ...emptyMessage,
    id: query.id,
    recursionDesired: true,
    authenticData: edns,
    checkingDisabled: query.checkingDisabled ?? false,
    questions: [{ name: query.domain, type: query.type, class: classInternet }],
    edns: edns ? { udpPayloadSize, version: 0, dnssecOk: query.dnssecOk ?? false, options: [] } : null
  })

/** What bytes from the asked server are to our query. */
export type Verdict =
  /** NOERROR or NXDOMAIN, complete. */
  | { readonly _tag: "Usable"; readonly message: Message }
  /** Not an answer to this query; perhaps forged. Keep waiting. */
  | { readonly _tag: "Foreign" }
  /** Ask again over TCP; `partial` has answers that can do when that fails. */
  | { readonly _tag: "Truncated"; readonly partial: Message | null }
  /** The server does not understand EDNS (RFC 6891 §6.2.2): ask again without. */
  | { readonly _tag: "NoEdns" }
  /** The server could not answer; `mayBeEdns`: some say so, too, of what has EDNS. */
  | { readonly _tag: "Failed"; readonly detail: string; readonly mayBeEdns: boolean }

/**
 * Reads an answer. What is put up with, since glibc's resolver, unbound, systemd-resolved or dnsmasq put up with it and
 * people's servers rely on it (`test/layers/dns/leniency.test.ts` has a test for each row):
 *
 * | what a server does                                          | what we do                  | as                       |
 * | ----------------------------------------------------------- | --------------------------- | ------------------------ |
 * | FORMERR to EDNS, also without the question                  | ask without EDNS            | glibc res_send, unbound  |
 * | NOTIMP or BADVERS to EDNS, with or without OPT              | ask without EDNS            | unbound; RFC 6891        |
 * | SERVFAIL, REFUSED or another error to EDNS                  | next server; if none is left, without EDNS | systemd-resolved |
 * | silence to EDNS                                             | ask without EDNS            | systemd-resolved, dnsmasq |
 * | silence over UDP                                            | ask over TCP                | systemd-resolved         |
 * | an error without the question                               | it is that server's failure | unbound                  |
 * | NOERROR with nothing in it, neither RA nor AA (lame)        | next server                 | glibc res_send           |
 * | bytes behind the message                                    | not looked at               | glibc, dnsmasq           |
 * | nonsense behind the answer section, two OPT records         | not looked at               | glibc                    |
 * | more records than anybody needs                             | all read, 64 addresses used | glibc                    |
 * | TC, and TCP is refused, closed or silent                    | what the UDP answer had     | dnsmasq                  |
 * | TC with a record cut in two                                 | the whole records before it | dnsmasq                  |
 * | the question in another case                                | asked again in plain case   | glibc; unbound caps-for-id |
 * | several answers                                             | the first usable one        | all                      |
 * | an error to a question without EDNS                         | when all servers have said no, asked once more | glibc `attempts` |
 * | a circle of CNAMEs, and an address where it begins          | that address                | glibc                    |
 *
 * Never: another id, another question, another address or port, opcode or class.
 *
 * @param withEdns whether the query that is answered had an OPT record
 */
export const judge = (query: Query, bytes: Uint8Array, transport: "udp" | "tcp", withEdns: boolean): Verdict => {
  const header = decodeHeader(bytes)
  if (header?.id !== query.id || !header.response || header.opcode !== opcodeQuery) return { _tag: "Foreign" }
  const message = decodeAnswer(bytes)
  if (isMalformed(message)) {
    // Some servers cut the question in two when they truncate.
    if (header.truncated && transport === "udp") return { _tag: "Truncated", partial: null }
    return failed(`malformed answer (${message.reason})`)
  }
  const [question] = message.questions
  const isError = message.rcode !== rcode.NoError && message.rcode !== rcode.NXDomain
  // A server that cannot read the query may leave the question out.
  if (!(question === undefined && isError) && !isAsked(message, query)) return { _tag: "Foreign" }
  if (withEdns && ednsErrors.has(message.rcode)) return { _tag: "NoEdns" }
  if (message.truncated) {
    if (transport === "tcp") return failed("truncated over TCP")
    const hasAnswer = !isError && message.answers.some(({ type }) => type === query.type)
    return { _tag: "Truncated", partial: hasAnswer ? message : null }
  }
  // Mostly about the name; of some servers about EDNS.
  if (isError) return failed(rcodeText(message.rcode), withEdns)
  return isLame(message) ? failed("it does not do recursion (lame)") : { _tag: "Usable", message }
}

/** What servers that do not know EDNS answer it with. */
const ednsErrors: ReadonlySet<number> = new Set([rcode.FormErr, rcode.NotImp, rcode.BadVers])

const failed = (detail: string, mayBeEdns = false): Verdict => ({ _tag: "Failed", detail, mayBeEdns })

const isAsked = ({ questions }: Message, query: Query): boolean =>
  questions.length === 1 &&
  questions[0]!.type === query.type &&
  questions[0]!.class === classInternet &&
  sameName(questions[0]!.name, query.domain)

/** A server that is authoritative for other zones only says nothing, or where else to ask. */
const isLame = (message: Message): boolean =>
  message.rcode === rcode.NoError &&
  message.answers.length === 0 &&
  message.additionals.length === 0 &&
  !message.authoritative &&
  !message.recursionAvailable &&
  !message.authorities.some(({ type }) => type === recordType.SOA)

/** What a usable answer says about one address family. `ttl` in seconds, 0 to `maxTtl`. */
export type FamilyAnswer =
  | { readonly _tag: "Addresses"; readonly addresses: ReadonlyArray<string>; readonly ttl: number }
  /** The chain ends, after so many links, at a name the server said nothing about, or had no say in: ask for it. */
  | { readonly _tag: "Alias"; readonly target: DomainText; readonly ttl: number; readonly links: number }
  | { readonly _tag: "NameNotFound"; readonly ttl: number }
  | { readonly _tag: "NoData"; readonly ttl: number }
  | { readonly _tag: "Unusable"; readonly detail: string }

/** What the asked server has to say about names that its answer leads to. */
export interface Competence {
  /** Another one is to be asked, whatever this one says. */
  readonly isElsewhere: (name: DomainText) => boolean
  /** Another one may know better when this one knows no address. */
  readonly isStranger: (name: DomainText) => boolean
}

const forAll: Competence = { isElsewhere: () => false, isStranger: () => false }

/** Follows the CNAME chain of a usable answer to an A or AAAA query and collects the addresses at its end. */
export const readAddresses = (
  domain: DomainText,
  type: number,
  message: Message,
  competence: Competence = forAll
): FamilyAnswer => {
  let name = canonicalName(domain)
  let ttl = maxTtl
  const aliases = new Map<string, ResourceRecord>()
  const addresses = new Map<string, Array<ResourceRecord>>()
  for (const record of message.answers) {
    if (record.class !== classInternet) continue
    const owner = canonicalName(record.name)
    if (record.type === recordType.CNAME && !aliases.has(owner)) aliases.set(owner, record)
    if (record.type !== type) continue
    const known = addresses.get(owner)
    if (known === undefined) addresses.set(owner, [record])
    else known.push(record)
  }
  let links = 0
  const followed = new Set<string>()
  for (; aliases.has(name) && !followed.has(name); links++) {
    const alias = aliases.get(name)!
    followed.add(name)
    if (links === maxChain || alias.data._tag !== "Name") return { _tag: "Unusable", detail: "CNAME chain too long" }
    ttl = Math.min(ttl, alias.ttl)
    name = canonicalName(alias.data.name)
    if (competence.isElsewhere(name)) return { _tag: "Alias", target: name, ttl, links: links + 1 }
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
  if (followed.has(name)) return { _tag: "Unusable", detail: "the chain of aliases is a circle" }
  if (links > 0 && competence.isStranger(name)) return { _tag: "Alias", target: name, ttl, links }
  const negative = negativeTtl(name, message)
  if (message.rcode === rcode.NXDomain) return { _tag: "NameNotFound", ttl: Math.min(ttl, negative ?? 0) }
  if (aliases.size > 0 && negative === null && !addresses.has(name) && name !== canonicalName(domain)) {
    return { _tag: "Alias", target: name, ttl, links }
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
