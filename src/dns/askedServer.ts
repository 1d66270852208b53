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
  /** Why there is no answer of use, in words. */
  failure: string | null
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

/** It failed, and is a DNS server: a connection that is closed, a certificate or another protocol's answer shows none. */
export const isServerFailure = ({ failure, heard }: AskedServer): boolean => failure !== null && heard

/** One reason out of all servers' failures: servers that said nothing are no resolver at all. */
export const reasonOf = (peers: ReadonlyArray<AskedServer>): ServerFailure | NoResolver => {
  const detail = peers.map((peer) => `${peer.key}: ${peer.failure ?? "no answer"}`).join("; ")
  return peers.some(isServerFailure) ? new ServerFailure({ detail }) : new NoResolver({ detail })
}
