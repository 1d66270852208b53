/**
 * ICE candidates (RFC 8445 §5.1) and their text form: SDP's `candidate` attribute (RFC 8839 §5.1) as the portal's peers
 * write and read it. One component, UDP only.
 */
import { formatAddress, isBroadcast, isIpv4, isMulticast, isUnspecified, parseAddress } from "../packet/address.ts"
import { type TransportAddress, transportAddress } from "../packet/transportAddress.ts"

/** `prflx` is learned from checks and never told. */
export type CandidateKind = "host" | "srflx" | "prflx" | "relay"

export interface Candidate {
  readonly kind: CandidateKind
  readonly address: TransportAddress
  /** 0 to 2³¹−1; more is better. */
  readonly priority: number
  readonly foundation: string
  /** What is told as `raddr` and `rport`; `null` when nothing is. */
  readonly related: TransportAddress | null
}

/** Longer text is no candidate. */
const maxTextLength = 512

/**
 * A candidate of ours. `index` counts the earlier ones of the same kind and family. Of a `srflx` or `relay` candidate
 * the related address is told as 0.0.0.0 port 0 (or `::`): the peer has no use for it, and it would tell about our network.
 */
export const localCandidate = (kind: CandidateKind, address: TransportAddress, index = 0): Candidate => ({
  kind,
  address,
  priority: candidatePriority(kind, isIpv4(address.address), index),
  foundation: foundationOf(kind, address),
  related: kind === "host" ? null : transportAddress(isIpv4(address.address) ? "0.0.0.0" : "::", 0)!
})

/** RFC 8445 §5.1.2.1 for component 1, with local preferences that take turns between the families, IPv6 first. */
const candidatePriority = (kind: CandidateKind, v4: boolean, index: number): number =>
  (typePreference[kind] << 24) | (Math.max(0, firstPreference[kind] - (v4 ? 1 : 0) - 2 * index) << 8) | 255

/** What checks from this candidate say as PRIORITY: that of a peer-reflexive candidate with its local preference. */
export const reflexivePriority = (local: Candidate): number =>
  (typePreference.prflx << 24) | (local.priority & 0xffffff)

/** `candidate:<foundation> 1 udp <priority> <ip> <port> typ <kind>[ raddr <ip> rport <port>]`. */
export const formatCandidate = (c: Candidate): string => {
  const related = c.related === null ? "" : ` raddr ${formatAddress(c.related.address)} rport ${c.related.port}`
  const { address, port } = c.address
  return `candidate:${c.foundation} 1 udp ${c.priority} ${formatAddress(address)} ${port} typ ${c.kind}${related}`
}

export interface ParsedCandidate {
  readonly candidate: Candidate
  /** When it is told, the candidate is of the peer with this username fragment only. */
  readonly ufrag: string | null
}

/**
 * Reads the text form strictly, one space between fields; extensions are skipped. `undefined` for anything else, and for
 * an address that no packet can be sent to (a name, unspecified, multicast, broadcast, port 0) or another component or transport.
 */
export const parseCandidate = (text: string): ParsedCandidate | undefined => {
  if (text.length > maxTextLength) return undefined
  const match = grammar.exec(text)
  if (match === null) return undefined
  const [, foundation, priorityText, ip, port, kindText, rest] = match
  const kind = kinds.find((name) => name === kindText)
  const address = sendable(ip!, Number(port))
  const priority = Number(priorityText)
  const extensions = readExtensions(rest!)
  if (kind === undefined || address === undefined || priority > 0x7fffffff || extensions === undefined) return undefined
  return {
    candidate: {
      kind,
      address,
      priority,
      foundation: foundation!,
      related: extensions.related
    },
    ufrag: extensions.ufrag
  }
}

const kinds: ReadonlyArray<CandidateKind> = ["host", "srflx", "prflx", "relay"]
const typePreference: Readonly<Record<CandidateKind, number>> = { host: 126, prflx: 110, srflx: 100, relay: 2 }
const firstPreference: Readonly<Record<CandidateKind, number>> = {
  host: 65_535,
  prflx: 49_151,
  srflx: 32_767,
  relay: 16_383
}

const grammar =
  /^candidate:([!-~]{1,64}) 1 (?:udp|UDP) (0|[1-9]\d{0,9}) ([0-9a-fA-F:.]{2,45}) (\d{1,5}) typ (host|srflx|prflx|relay)((?: [!-~]+ [!-~]+)*)$/

/** `raddr` with `rport`, and `ufrag`; others are skipped. */
const readExtensions = (
  text: string
): { readonly related: TransportAddress | null; readonly ufrag: string | null } | undefined => {
  const fields = text.split(" ")
  const values = new Map<string, string>()
  for (let i = 1; i + 1 < fields.length; i += 2) {
    if (values.has(fields[i]!)) return undefined
    values.set(fields[i]!, fields[i + 1]!)
  }
  const ufrag = values.get("ufrag") ?? null
  const raddr = values.get("raddr")
  const rport = values.get("rport")
  if (raddr === undefined && rport === undefined) return { related: null, ufrag }
  if (raddr === undefined || rport === undefined || !/^\d{1,5}$/.test(rport)) return undefined
  const related = transportAddress(raddr, Number(rport))
  return related === undefined ? undefined : { related, ufrag }
}

const sendable = (ip: string, port: number): TransportAddress | undefined => {
  const address = parseAddress(ip)
  if (address === undefined || isUnspecified(address) || isMulticast(address) || isBroadcast(address)) return undefined
  return port === 0 ? undefined : transportAddress(ip, port)
}

/** FNV-1a of what RFC 8445 §5.1.1.3 says makes candidates alike: kind and base address. */
const foundationOf = (kind: CandidateKind, a: TransportAddress): string => {
  let hash = 0x811c9dc5
  for (const character of `${kind} ${formatAddress(a.address)}`) {
    hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193)
  }
  return (hash >>> 0).toString(16).padStart(8, "0")
}
