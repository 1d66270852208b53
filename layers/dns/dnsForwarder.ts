/**
 * Questions of clients that other servers answer. An answer that is known and allowed to live serves at once; equal
 * questions are asked once; beyond the places at a time questions wait, round robin over the clients that ask.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Option from "effect/Option"
import { AnswerCache, questionKey } from "../../src/dns/answerCache.ts"
import { type ExtendedError, extendedErrorCode } from "../../src/dns/extendedError.ts"
import { FairQueue } from "../../src/dns/FairQueue.ts"
import { filterAddresses } from "../../src/dns/filterAddresses.ts"
import type { Message } from "../../src/dns/message.ts"
import { rcode } from "../../src/dns/registry.ts"
import type { TunnelAnswer, TunnelQuestion } from "../../src/dns/tunnelAnswer.ts"
import { Upstream } from "../../src/dns/Upstream.ts"
import { monotonicMillis } from "../../src/loops/monotonic.ts"
import type { ResolutionReason } from "../../src/resolution/Resolver.ts"
import type { Asker } from "./askers.ts"

const cacheBounds = { maxEntries: 10_000, maxBytes: 16 * 1024 * 1024 } as const
/** Questions that are with other servers at a time, and that wait for that, of all and of one asker. */
const places = { running: 256, waiting: 4_096, waitingEach: 1_024 } as const
/** A question waits no longer for its place. */
const maxQueuedMs = 2_000
/** An answer past its TTL serves when the servers have not given a new one within this time (RFC 8767 §5). */
const staleAfterMs = 500

/** One exchange with the servers of a set, for all who ask the same meanwhile. */
interface Job {
  readonly key: string
  readonly set: string
  readonly question: TunnelQuestion
  readonly answered: Deferred.Deferred<Message, ExtendedError>
  waiters: number
  /** Monotonic milliseconds; `null` while it waits for a place. */
  startedAt: number | null
}

/** A job's place in one asker's line. */
interface Ticket {
  readonly job: Job
  readonly deadline: number
}

export const makeDnsForwarder = Effect.gen(function* () {
  const upstream = yield* Upstream
  const run = yield* FiberSet.makeRuntime()
  const cache = new AnswerCache(cacheBounds)
  const queue = new FairQueue<Ticket>(places)
  const jobs = new Map<string, Job>()
  const counters = {
    forwards_cached: 0,
    forwards_stale: 0,
    forwards_joined: 0,
    forwards_waited: 0,
    forwards_refused: 0
  }

  /** What the servers say goes into the cache, whoever still waits for it. */
  const exchange = Effect.fnUntraced(function* ({ key, question, set }: Job, withinMs: number) {
    const outcome = yield* Effect.result(upstream.exchange(set, question, withinMs))
    const now = yield* monotonicMillis
    if (outcome._tag === "Success") {
      cache.put(key, question.type, outcome.success, now)
      return outcome.success
    }
    const error = errorOf(outcome.failure.reason)
    cache.putFailure(key, { ...error, code: extendedErrorCode.CachedError }, now)
    return yield* Effect.fail(error)
  })

  /** Gives free places to who is next. */
  const pump = (now: number): void => {
    for (let next = queue.take(); next !== undefined; next = queue.take()) {
      const { item, name } = next
      const { deadline, job } = item
      if (job.startedAt !== null) {
        queue.done(name)
        continue
      }
      job.startedAt = now
      run(
        exchange(job, Math.max(1, deadline - now)).pipe(
          Effect.onExit((exit) => {
            jobs.delete(job.key)
            queue.done(name)
            return Effect.andThen(Deferred.done(job.answered, exit), Effect.map(monotonicMillis, pump))
          }),
          Effect.ignore
        )
      )
    }
  }

  /** Joins the exchange about a question, or begins one; waits for its end. */
  const ask = Effect.fnUntraced(function* (
    of: Asker,
    key: string,
    set: string,
    question: TunnelQuestion,
    withinMs: number,
    patienceMs: number
  ): Effect.fn.Return<Message, ExtendedError> {
    const now = yield* monotonicMillis
    const known = jobs.get(key)
    const job = known ?? { key, set, question, answered: Deferred.makeUnsafe(), waiters: 0, startedAt: null }
    const ticket = { job, deadline: now + withinMs }
    if (known !== undefined) counters.forwards_joined++
    if (job.startedAt === null && !queue.add(of.name, ticket)) return yield* shed(of)
    jobs.set(key, job)
    job.waiters++
    pump(now)
    const forAnswer = Deferred.await(job.answered)
    return yield* Effect.gen(function* () {
      const began = (): boolean => job.startedAt !== null
      if (began()) return yield* within(forAnswer, patienceMs - (known === undefined ? 0 : now - job.startedAt!))
      counters.forwards_waited++
      const queuedMs = Math.min(maxQueuedMs, patienceMs)
      const early = yield* Effect.timeoutOption(forAnswer, queuedMs)
      if (Option.isSome(early)) return early.value
      return began() || queuedMs < maxQueuedMs ? yield* within(forAnswer, patienceMs - queuedMs) : yield* shed(of)
    }).pipe(
      Effect.ensuring(
        Effect.sync(() => {
          queue.remove(of.name, ticket)
          job.waiters--
          if (job.waiters === 0 && job.startedAt === null) jobs.delete(key)
        })
      )
    )
  })

  const shed = Effect.fnUntraced(function* (of: Asker): Effect.fn.Return<never, ExtendedError> {
    counters.forwards_refused++
    yield* of.tellShed
    return yield* Effect.fail(tooMany)
  })

  const served = (message: Message, keep: (address: string) => boolean, error?: ExtendedError): TunnelAnswer => ({
    _tag: "Forwarded",
    message: filterAddresses(message, keep),
    ...(error && { error })
  })

  return {
    /**
     * By name: `forwards_cached`, `forwards_stale` (past the TTL, while the servers do not answer), `forwards_joined`
     * (asked already), `forwards_waited` (for a place), `forwards_refused` (no room to wait, or too long).
     */
    counters: () => ({ ...counters }),
    /**
     * What the resolver set says within that time, with the addresses that `keep` lets through: none by default, since
     * those of resources' names are real ones, and clients have their own for them. SERVFAIL when there is no room to
     * wait.
     */
    forward: Effect.fnUntraced(function* (
      of: Asker,
      set: string,
      question: TunnelQuestion,
      withinMs: number,
      keep: (address: string) => boolean = () => false
    ): Effect.fn.Return<TunnelAnswer> {
      const key = keyOf(yield* upstream.epoch(set), set, question)
      const cached = cache.find(key, yield* monotonicMillis)
      if (cached?._tag === "Fresh" || cached?._tag === "Failed") counters.forwards_cached++
      if (cached?._tag === "Fresh") return served(cached.message, keep)
      if (cached?._tag === "Failed") return failure(cached.error)
      const serveStale = (message: Message): TunnelAnswer => {
        counters.forwards_stale++
        return served(message, keep, message.rcode === rcode.NXDomain ? staleNameError : staleAnswer)
      }
      if (cached?.failed === true) return serveStale(cached.message)
      return yield* ask(of, key, set, question, withinMs, cached === undefined ? withinMs : staleAfterMs).pipe(
        Effect.match({
          onSuccess: (message) => served(message, keep),
          onFailure: (error): TunnelAnswer => (cached === undefined ? failure(error) : serveStale(cached.message))
        })
      )
    }),
    /** A fresh answer that is kept, as `tell` puts it, at once; `undefined`: none is, or it is not to be told as it is. */
    cached: (
      set: string,
      question: TunnelQuestion,
      now: number,
      tell: (message: Message) => TunnelAnswer | undefined
    ): TunnelAnswer | undefined => {
      const epoch = upstream.epochAtOnce(set, now)
      const cached = epoch === undefined ? undefined : cache.find(keyOf(epoch, set, question), now)
      const answer = cached?._tag === "Fresh" ? tell(cached.message) : undefined
      if (answer !== undefined) counters.forwards_cached++
      return answer
    }
  }
})

const noAnswer: ExtendedError = { code: extendedErrorCode.NoReachableServer, text: "no answer from any server" }
const noUsableAnswer: ExtendedError = { code: extendedErrorCode.NetworkError, text: "the servers could not answer" }
const tooMany: ExtendedError = { code: extendedErrorCode.Other, text: "too many questions wait for other servers" }
const staleAnswer: ExtendedError = { code: extendedErrorCode.StaleAnswer, text: "past its TTL" }
const staleNameError: ExtendedError = { code: extendedErrorCode.StaleNameError, text: "past its TTL" }

/** What was kept of former servers of a set is not found by its new key. */
const keyOf = (epoch: number, set: string, question: TunnelQuestion): string => `${epoch} ${questionKey(set, question)}`

const failure = (error: ExtendedError): TunnelAnswer => ({ _tag: "ServerFailure", error })

const errorOf = ({ _tag }: ResolutionReason): ExtendedError => (_tag === "ServerFailure" ? noUsableAnswer : noAnswer)

const within = (answer: Effect.Effect<Message, ExtendedError>, ms: number): Effect.Effect<Message, ExtendedError> =>
  Effect.timeoutOrElse(answer, { duration: Math.max(0, ms), orElse: () => Effect.fail(noAnswer) })
