import * as crypto from "node:crypto"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import type { Ask, Attempt } from "../../src/dns/askedServer.ts"
import type { AskPlan } from "../../src/dns/askPlan.ts"
import { randomCase } from "../../src/dns/dns0x20.ts"
import { Exchange, type ExchangeCounters } from "../../src/dns/Exchange.ts"
import { encodeQuery, maxTtl } from "../../src/dns/query.ts"
import type { ProbeAim, ServerMemory } from "../../src/dns/serverMemory.ts"
import type { UpstreamQuestion } from "../../src/dns/Upstream.ts"
import { monotonicMillis } from "../../src/loops/monotonic.ts"
import type { ResolverServer } from "../../src/model/ResolverSet.ts"
import { NameNotFound } from "../../src/resolution/Resolver.ts"
import { tlsProblems } from "../host/tlsProblems.ts"
import { openUdp } from "./udpSocket.ts"

/** What all exchanges share. */
export interface ExchangeParts {
  readonly memory: ServerMemory
  readonly counters: ExchangeCounters
  /** One question over a connection that is kept; fails with a cause. */
  readonly overStream: (
    server: ResolverServer,
    query: Uint8Array,
    withinMs: number
  ) => Effect.Effect<Uint8Array, string>
  readonly tcpMs: number
  /** Nothing gets to a server, while others are left. */
  readonly unreachable: (server: string, cause: string) => Effect.Effect<void>
}

type Event =
  | { readonly _tag: "Answer"; readonly attempt: Attempt; readonly bytes: Uint8Array }
  | { readonly _tag: "Problem"; readonly attempt: Attempt; readonly cause: string }

/** Events that wait for the exchange's fiber; datagrams beyond are lost like on any full socket. */
const maxEvents = 256

/** Sockets of earlier datagrams whose answers may still come: a server may take as many seconds as these are apart. */
const maxOpen = 5

/**
 * Asks the servers of the plan until one gives a usable answer (`Exchange` decides). Each datagram has its own id, port
 * and case (0x20). Scoped: sockets and fibers end with the scope.
 *
 * @param probe what is to be found out of the plan's only server; `null` for a question that somebody waits for
 */
export const exchange = Effect.fnUntraced(function* (
  { counters, memory, overStream, tcpMs, unreachable }: ExchangeParts,
  plan: AskPlan,
  question: UpstreamQuestion,
  withinMs: number,
  probe: ProbeAim | null
) {
  const withEdns = encodeQuery({ ...question, id: 0 }, true)
  const withoutEdns = encodeQuery({ ...question, id: 0 }, false)
  // What is no DNS name can never exist.
  if (withEdns === null || withoutEdns === null) return yield* new NameNotFound({ ttlSeconds: maxTtl })
  const events = yield* Queue.dropping<Event>(maxEvents)
  const sockets: Array<{ readonly close: () => void }> = []
  yield* Effect.addFinalizer(() => Effect.sync(() => sockets.forEach((socket) => socket.close())))

  const attemptOf = (ask: Ask, at: number): Attempt => {
    const plainCase = (ask.edns ? withEdns : withoutEdns).slice()
    const id = crypto.randomInt(0x10000)
    plainCase[0] = id >>> 8
    plainCase[1] = id
    const sent = ask.cased ? randomCase(plainCase, crypto.randomBytes(32)) : plainCase
    return { ...ask, query: { ...question, id }, plainCase, sent, at }
  }

  const sendDatagram = (attempt: Attempt): void => {
    const socket = openUdp(
      attempt.peer.server,
      (bytes) => {
        // Cheap sieve: what does not carry our id never reaches the queue.
        if (bytes.length >= 2 && bytes[0] === attempt.sent[0] && bytes[1] === attempt.sent[1]) {
          Queue.offerUnsafe(events, { _tag: "Answer", attempt, bytes })
        }
      },
      (cause) => Queue.offerUnsafe(events, { _tag: "Problem", attempt, cause })
    )
    socket.send(attempt.sent)
    sockets.push(socket)
    if (sockets.length > maxOpen) sockets.shift()!.close()
  }

  const sendOverStream = (attempt: Attempt) =>
    overStream(attempt.peer.server, attempt.sent, attempt.withinMs).pipe(
      Effect.match({
        onSuccess: (bytes): Event => ({ _tag: "Answer", attempt, bytes }),
        onFailure: (cause): Event => ({ _tag: "Problem", attempt, cause })
      }),
      Effect.flatMap((event) => Queue.offer(events, event)),
      Effect.forkScoped
    )

  let now = yield* monotonicMillis
  const state = new Exchange({ counters, memory, plan, probe, withinMs, tcpMs }, now)
  for (;;) {
    const step = state.turn(now)
    for (const ask of state.takeAsks()) {
      const attempt = attemptOf(ask, now)
      if (ask.via === "datagram") sendDatagram(attempt)
      else yield* sendOverStream(attempt)
    }
    if (step._tag === "Answer") return step.message
    if (step._tag === "Failure") return yield* step.reason
    const next = yield* Queue.take(events).pipe(Effect.timeoutOption(step.until - now))
    now = yield* monotonicMillis
    if (Option.isNone(next)) continue
    const event = next.value
    const outcome =
      event._tag === "Answer"
        ? state.heard(event.attempt, event.bytes, now)
        : state.failed(event.attempt, event.cause, explanations[event.cause] ?? event.cause, now)
    for (const { cause, server } of state.takeUseless()) yield* unreachable(server, cause)
    if (outcome?._tag === "Answer") return outcome.message
    if (outcome?._tag === "Failure") return yield* outcome.reason
  }
})

/** Why nothing gets to a server, by error code. */
const explanations: Readonly<Record<string, string>> = {
  ...tlsProblems,
  ECONNREFUSED: "no DNS server listens there (ECONNREFUSED)",
  ECONNRESET: "connection reset (ECONNRESET)",
  ETIMEDOUT: "no answer (ETIMEDOUT)",
  ENETUNREACH: "no route (ENETUNREACH)",
  EADDRNOTAVAIL: "this host has no address of its family (EADDRNOTAVAIL)",
  EAFNOSUPPORT: "this host has no IPv6 (EAFNOSUPPORT)",
  EHOSTUNREACH: "host unreachable (EHOSTUNREACH)",
  EPERM: "the host's firewall forbids it (EPERM)",
  EMFILE: "too many open files (EMFILE)"
}
