import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import type { Later } from "../loops/later.ts"
import { makeOutlive } from "../loops/outlive.ts"
import type { ResolutionError } from "../resolution/Resolver.ts"
import { broken, type Outcome } from "./Exchange.ts"
import type { Message } from "./message.ts"

/** What a server is asked: class IN, recursion desired. */
export interface UpstreamQuestion {
  readonly domain: string
  /** See `recordType`. */
  readonly type: number
  /** DO (RFC 3225): signatures are wanted. */
  readonly dnssecOk?: boolean
  /** CD (RFC 4035 §3.2.2): who asks validates by itself. */
  readonly checkingDisabled?: boolean
  /** AD (RFC 6840 §5.7): who asks wants to know whether the server has validated. */
  readonly authenticData?: boolean
}

/** A server as it has shown itself; times are monotonic milliseconds. */
export interface UpstreamServer {
  /** See `formatServer`. */
  readonly server: string
  readonly answeredAt: number | null
  readonly silentSince: number | null
  /** Smoothed. */
  readonly latencyMs: number | null
  /** In which ways it is asked otherwise than others: `no EDNS`, `TCP only`, `no TCP`, `changes case`. */
  readonly oddities: ReadonlyArray<string>
}

/**
 * Asks the servers of a resolver set one question: for what is forwarded (SRV, TXT, MX, names outside of all
 * resources). `Resolver` is built on the same exchange. Interruption closes the sockets.
 */
export class Upstream extends Context.Service<
  Upstream,
  {
    /**
     * The first usable answer: NOERROR or NXDOMAIN, id and question checked; complete (over TCP when truncated), or what
     * there was of it where the server has no TCP. The reason of a failure is `ServerFailure`, `Timeout` or `NoResolver`.
     *
     * @param set `system` or the name of a configured set
     * @param withinMs less time than the configured total
     */
    readonly exchange: (
      set: string,
      question: UpstreamQuestion,
      withinMs?: number
    ) => Effect.Effect<Message, ResolutionError>
    /**
     * The same without a fiber, for thousands of questions a second. A resolv.conf that has changed may be noticed 100 ms
     * later.
     */
    readonly ask: (set: string, question: UpstreamQuestion, withinMs: number) => Later<Outcome>
    /**
     * Another number as soon as the set's servers are others than before, within a second or so: what those said need not
     * hold with these.
     */
    readonly epoch: (set: string) => Effect.Effect<number>
    /** The same, where nothing has to be read for it just now. `now`: monotonic milliseconds. */
    readonly epochAtOnce: (set: string, now: number) => number | undefined
    /**
     * By name: `queries` (datagrams sent), `resends` (those that repeat one), `tcp_queries`, `answers`, `failures`, `timeouts`, `ignored`
     * (answers to nothing that was asked), `without_edns`, `case_changed`, `truncated_used`, `probes`, `stream_connections`,
     * `stream_reconnects`, `stream_full`.
     */
    readonly counters: Effect.Effect<Readonly<Record<string, number>>>
    /** What is known of the servers that were asked lately. */
    readonly servers: Effect.Effect<ReadonlyArray<UpstreamServer>>
  }
>()("sallyport/dns/Upstream") {}

/** `ask` where it takes a fiber all the same. */
export const askedByFibers = (
  exchange: Upstream["Service"]["exchange"]
): Effect.Effect<Upstream["Service"]["ask"], never, Scope.Scope> =>
  Effect.map(FiberSet.makeRuntime(), (run) => {
    const outlive = makeOutlive("Upstream.ask")
    return (set, question, withinMs) => (tell) => {
      const asking = Effect.match(exchange(set, question, withinMs), {
        onSuccess: (message): Outcome => ({ _tag: "Answer", message }),
        onFailure: ({ reason }): Outcome => ({ _tag: "Failure", reason })
      })
      const outcome = Effect.map(outlive(asking), (told) => told ?? broken)
      const fiber = run(outlive(Effect.map(outcome, tell)))
      return () => fiber.interruptUnsafe()
    }
  })
