import type { DomainText, NameProblem } from "./name.ts"

/** A DNS message (RFC 1035 §4.1) with its EDNS part (RFC 6891) taken out of the additional section. */
export interface Message {
  readonly id: number
  readonly response: boolean
  readonly opcode: number
  readonly authoritative: boolean
  readonly truncated: boolean
  readonly recursionDesired: boolean
  readonly recursionAvailable: boolean
  readonly authenticData: boolean
  readonly checkingDisabled: boolean
  /** 12 bits: the header's four and, with EDNS, the eight of the OPT record. */
  readonly rcode: number
  readonly questions: ReadonlyArray<Question>
  readonly answers: ReadonlyArray<ResourceRecord>
  readonly authorities: ReadonlyArray<ResourceRecord>
  /** Without the OPT record. */
  readonly additionals: ReadonlyArray<ResourceRecord>
  readonly edns: Edns | null
}

export interface Question {
  readonly name: DomainText
  readonly type: number
  readonly class: number
}

export interface Edns {
  readonly udpPayloadSize: number
  readonly version: number
  readonly dnssecOk: boolean
  readonly options: ReadonlyArray<{ readonly code: number; readonly data: Uint8Array }>
}

export interface ResourceRecord {
  readonly name: DomainText
  readonly type: number
  readonly class: number
  /** Seconds, 0 to 2³¹−1; a value with the top bit set is read as 0 (RFC 2181 §8). */
  readonly ttl: number
  readonly data: RecordData
}

/** What is parsed; all other types, and all classes but IN, are raw. */
export type RecordData =
  /** A and AAAA; canonical text. */
  | { readonly _tag: "Address"; readonly address: string }
  /** CNAME and PTR. */
  | { readonly _tag: "Name"; readonly name: DomainText }
  | {
      readonly _tag: "Soa"
      readonly mname: DomainText
      readonly rname: DomainText
      readonly serial: number
      readonly refresh: number
      readonly retry: number
      readonly expire: number
      readonly minimum: number
    }
  /** RDATA as it may stand in any message: the names in it are never compressed (RFC 3597 §4). */
  | { readonly _tag: "Raw"; readonly bytes: Uint8Array }

/** Why bytes are no message. */
export interface Malformed {
  readonly _tag: "Malformed"
  readonly reason:
    | NameProblem
    | "HeaderTruncated"
    | "RecordTruncated"
    | "TooManyRecords"
    | "BadRecordData"
    | "BadEdns"
    | "TrailingBytes"
}

/** A message with everything off and empty; spread it and say what differs. */
export const emptyMessage: Message = {
  id: 0,
  response: false,
  opcode: 0,
  authoritative: false,
  truncated: false,
  recursionDesired: false,
  recursionAvailable: false,
  authenticData: false,
  checkingDisabled: false,
  rcode: 0,
  questions: [],
  answers: [],
  authorities: [],
  additionals: [],
  edns: null
}

export const isMalformed = (m: Message | Malformed): m is Malformed => "_tag" in m
