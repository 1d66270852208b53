/** The servers of one exchange, and what became of asking each. */
import type { ResolverServer } from "../model/ResolverSet.ts"
import { NoResolver, ServerFailure } from "../resolution/Resolver.ts"
import type { Message } from "./message.ts"
import type { Query } from "./query.ts"

/** A server during one exchange. */
export interface AskedServer {
  readonly server: ResolverServer
  /** In `ServerMemory`. */
  readonly key: string
  /** How often its turn came, and when first. */
  asked: number
  askedAt: number
  datagrams: number
  /** It said something that belongs to our question. */
  heard: boolean
  /** A question with EDNS was sent; since then nothing but a complaint came. */
  ednsUnanswered: boolean
  /** EDNS is no longer tried. */
  plain: boolean
  /** It failed in a way that some servers have for EDNS. */
  mayBeEdns: boolean
  /** It answered truncated, and TCP is under way. */
  truncated: boolean
  partial: Attempted | null
  /** Questions over connections under way. */
  streams: number
  /** How often it said that it cannot answer. */
  noes: number
  failure: { readonly detail: string; readonly reached: boolean } | null
}

/** A way to ask a server. */
export interface Ask {
  readonly peer: AskedServer
  readonly via: "datagram" | "stream"
  readonly edns: boolean
  /** With a case of its own (0x20). */
  readonly cased: boolean
  /** A question over a connection is given up after so long. */
  readonly withinMs: number
}

/** What was sent for it. */
export interface Attempt extends Ask {
  readonly query: Query
  readonly plainCase: Uint8Array
  readonly sent: Uint8Array
  /** Monotonic milliseconds. */
  readonly at: number
}

export interface Attempted {
  readonly attempt: Attempt
  readonly message: Message
}

export const makeAskedServer = (server: ResolverServer, key: string): AskedServer => ({
  server,
  key,
  asked: 0,
  askedAt: 0,
  datagrams: 0,
  heard: false,
  ednsUnanswered: false,
  plain: false,
  mayBeEdns: false,
  truncated: false,
  partial: null,
  streams: 0,
  noes: 0,
  failure: null
})

/** `detail`: why nothing came back, in words. */
export const notAnswered = (detail: string): NonNullable<AskedServer["failure"]> => ({
  detail,
  reached: !unreached.test(detail)
})

/** A stream's time-out, and what the system says of a server that nothing gets to: its code in brackets. */
const unreached = /^no answer|\([A-Z]+\)$/

/** One reason out of all servers' failures: unreachable servers are no resolver at all. */
export const reasonOf = (peers: ReadonlyArray<AskedServer>): ServerFailure | NoResolver => {
  const detail = peers.map((peer) => `${peer.key}: ${peer.failure?.detail ?? "no answer"}`).join("; ")
  return peers.some((peer) => peer.failure?.reached === true)
    ? new ServerFailure({ detail })
    : new NoResolver({ detail })
}
