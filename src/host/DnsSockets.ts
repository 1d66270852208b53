import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { awaitLater, awaitTold, type Later, type Told } from "../loops/later.ts"
import type { SocketAddress } from "../model/SocketAddress.ts"

/** The DNS service could not listen. `message` is one line: what failed, why, and the fix. */
export class DnsSocketError extends Schema.TaggedError<DnsSocketError>()("DnsSocketError", {
  message: Schema.String,
  /** The host does not have the address (any more), or nothing of its family. */
  absent: Schema.Boolean
}) {}

/** `null` sends nothing, and ends a connection. Over TCP the bytes are without their length prefix. */
export type DnsReply = Uint8Array | null

/** A query in, an answer out, at once or later. */
export type DnsHandler = (
  query: Uint8Array,
  source: SocketAddress,
  transport: "udp" | "tcp"
) => Told<DnsReply> | Later<Told<DnsReply>>

/** What a handler says, for those who wait in any case. */
export const waitFor = (reply: ReturnType<DnsHandler>): Effect.Effect<DnsReply> =>
  typeof reply === "function" ? awaitLater(reply) : awaitTold(reply)

export interface DnsService {
  /** Each gets a UDP and a TCP socket. */
  readonly addresses: ReadonlyArray<string>
  /** 0 lets the host choose one port per address. */
  readonly port: number
  /** Only packets that arrive on this device are seen (SO_BINDTODEVICE); `null`: any. */
  readonly device: string | null
  /** The gateway itself has the UDP port at every address: what comes to these ones is for this service. */
  readonly sharesPort?: boolean
  readonly handler: DnsHandler
}

/** The sockets of the tunnel DNS server. Everything a peer can make us hold is bounded. */
export class DnsSockets extends Context.Service<
  DnsSockets,
  {
    /**
     * Listens until the scope closes; yields what was bound, in the order of `addresses`. IPv6 addresses are served
     * whenever the device has IPv6, and nothing fails because it has none.
     */
    readonly serve: (service: DnsService) => Effect.Effect<ReadonlyArray<SocketAddress>, DnsSocketError, Scope.Scope>
    /**
     * By name: `udp_queries`, `udp_dropped` (too many in flight, or from port 0), `tcp_queries`, `tcp_connections`, `tcp_refused` (too
     * many connections at work), `tcp_closed_idle`, `tcp_closed_for_new` (idle, and there was no room for a new one),
     * `tcp_closed_oversize` (a query of too many bytes), `tcp_closed_unread` (does not read its answers),
     * `tcp_closed_unanswered` (sent what gets no answer), `send_errors`.
     */
    readonly counters: Effect.Effect<Readonly<Record<string, number>>>
  }
>()("sallyport/host/DnsSockets") {}
