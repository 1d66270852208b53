import type { Message } from "./message.ts"

/** What a client asks the tunnel DNS server; class IN, one question. */
export interface TunnelQuestion {
  /** Lower case, no trailing dot. */
  readonly domain: string
  /** See `recordType`. HTTPS, SVCB and the meta types (ANY, AXFR, …) never reach `lookup`: they are answered before. */
  readonly type: number
  /** What A (4) or AAAA (6) asks for; `null` for every other type. */
  readonly family: 4 | 6 | null
  /** The address that a PTR question under in-addr.arpa or ip6.arpa spells, canonical text. */
  readonly reverse: string | null
}

/** `ttl` in seconds. */
export type TunnelAnswer =
  /** Those of the asked family are used; none left is NODATA. */
  | { readonly _tag: "Addresses"; readonly addresses: ReadonlyArray<string>; readonly ttl: number }
  /** The name exists, this type does not. */
  | { readonly _tag: "NoData"; readonly ttl: number }
  /** NXDOMAIN. */
  | { readonly _tag: "NameError"; readonly ttl: number }
  /** The name of a PTR question's address. */
  | { readonly _tag: "Reverse"; readonly name: string; readonly ttl: number }
  /** The answer of an upstream server; its sections and rcode are passed on under the client's id and question. */
  | { readonly _tag: "Forwarded"; readonly message: Message }
  | { readonly _tag: "Refused" }
  | { readonly _tag: "ServerFailure" }
  /** No answer at all (rate limit). */
  | { readonly _tag: "Dropped" }
