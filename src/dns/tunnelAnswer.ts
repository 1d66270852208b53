import type { ExtendedError } from "./extendedError.ts"
import type { Message, RecordData } from "./message.ts"
import type { DomainText } from "./name.ts"

/** What a client asks the tunnel DNS server; class IN, one question. */
export interface TunnelQuestion {
  /** Lower case, no trailing dot. */
  readonly domain: string
  /** See `recordType`. The meta types (ANY, AXFR, …) never reach `lookup`: they are answered before. */
  readonly type: number
  /** What A (4) or AAAA (6) asks for; `null` for every other type. */
  readonly family: 4 | 6 | null
  /** The address that a PTR question under in-addr.arpa or ip6.arpa spells, canonical text. */
  readonly reverse: string | null
  /** DO (RFC 3225): the client wants signatures. */
  readonly dnssecOk?: boolean
  /** CD (RFC 4035 §3.2.2): the client validates by itself. */
  readonly checkingDisabled?: boolean
  /** AD or DO: the client understands an answer's AD (RFC 6840 §5.7). */
  readonly authenticData?: boolean
}

/** A record of the asked name. `ttl` in seconds. */
export interface LocalRecord {
  readonly type: number
  readonly data: RecordData
  readonly ttl: number
}

/** `ttl` in seconds. `error` tells clients with EDNS why the answer is what it is. */
export type TunnelAnswer =
  /** Those of the asked family are used; none left is NODATA. */
  | { readonly _tag: "Addresses"; readonly addresses: ReadonlyArray<string>; readonly ttl: number }
  /** The name exists, this type does not. */
  | { readonly _tag: "NoData"; readonly ttl: number; readonly error?: ExtendedError }
  /** NXDOMAIN. */
  | { readonly _tag: "NameError"; readonly ttl: number; readonly error?: ExtendedError }
  /** What the gateway's file says of the name and the type. */
  | { readonly _tag: "Records"; readonly records: ReadonlyArray<LocalRecord> }
  /** The name is an alias; the answer is the target's. */
  | {
      readonly _tag: "Alias"
      readonly target: DomainText
      readonly ttl: number
      readonly answer: Exclude<TunnelAnswer, { readonly _tag: "Dropped" }>
    }
  /** The name of a PTR question's address. */
  | { readonly _tag: "Reverse"; readonly name: string; readonly ttl: number }
  /** The answer of an upstream server; its sections and rcode are passed on under the client's id and question. */
  | { readonly _tag: "Forwarded"; readonly message: Message; readonly error?: ExtendedError }
  | { readonly _tag: "Refused"; readonly error?: ExtendedError }
  | { readonly _tag: "ServerFailure"; readonly error?: ExtendedError }
  /** No answer at all: to who is no client, and to a flood. */
  | { readonly _tag: "Dropped" }
