/**
 * Questions of clients that other servers answer. An answer that is known and allowed to live serves at once; equal
 * questions are asked once; beyond the places at a time questions wait, round robin over the clients that ask.
 */
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import { AnswerCache, questionKey } from "../../src/dns/answerCache.ts"
import { type ExtendedError, extendedErrorCode } from "../../src/dns/extendedError.ts"
import { broken, type Outcome } from "../../src/dns/Exchange.ts"
import { FairQueue } from "../../src/dns/FairQueue.ts"
import { filterAddresses } from "../../src/dns/filterAddresses.ts"
import type { Message } from "../../src/dns/message.ts"
import { rcode } from "../../src/dns/registry.ts"
import type { TunnelAnswer, TunnelQuestion } from "../../src/dns/tunnelAnswer.ts"
import { Upstream } from "../../src/dns/Upstream.ts"
import { atOnce, type Later, mapLater, type Told } from "../../src/loops/later.ts"
import { makeOutlive } from "../../src/loops/outlive.ts"
import { makeTimers, type Timer } from "../../src/loops/timers.ts"
import type { ResolutionReason } from "../../src/resolution/Resolver.ts"
import type { Asker } from "./askers.ts"

const cacheBounds = { maxEntries: 10_000, maxBytes: 16 * 1024 * 1024 } as const
/** Questions that are with other servers at a time, and that wait for that, of all and of one asker. */
const places = { running: 256, waiting: 4_096, waitingEach: 1_024 } as const
/** A question waits no longer for its place. */
const maxQueuedMs = 2_000
/** An answer past its TTL serves when the servers have not given a new one within this time (RFC 8767 §5). */
const staleAfterMs = 500

type Answered =
  | { readonly _tag: "Answer"; readonly message: Message }
  | { readonly _tag: "None"; readonly error: ExtendedError }

/** One exchange with the servers of a set, for all who ask the same meanwhile. */
interface Job {
  readonly key: string
  readonly set: string
  readonly question: TunnelQuestion
  readonly waiters: Set<Waiter>
  /** Monotonic milliseconds; `null` while it waits for a place. */
  startedAt: number | null
}

/** A job's place in one asker's line. */
interface Ticket {
  readonly job: Job
  readonly deadline: number
}

/** Who waits for a job. */
interface Waiter {
  readonly of: Asker
  readonly ticket: Ticket
  readonly tell: (answered: Answered) => void
  timer: Timer | null
}

/** What is asked, and how long that may take: of the servers, and of whom it is asked for. */
interface Asking {
  readonly key: string
  readonly set: string
  readonly question: TunnelQuestion
  readonly withinMs: number
  readonly patienceMs: number
}

export const makeDnsForwarder = Effect.gen(function* () {
  const upstream = yield* Upstream
  const timers = yield* makeTimers
  const run = yield* FiberSet.makeRuntime()
  const outlive = makeOutlive("dnsForwarder")
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
  const keep = ({ key, question }: Job, outcome: Outcome, now: number): Answered => {
    if (outcome._tag === "Answer") {
      cache.put(key, question.type, outcome.message, now)
      return outcome
    }
    const error = errorOf(outcome.reason)
    cache.putFailure(key, { ...error, code: extendedErrorCode.CachedError }, now)
    return { _tag: "None", error }
  }

  let isPumping = false
  /** Gives free places to who is next. */
  const pump = (now: number): void => {
    // What ends at once leaves its place to this very loop.
    if (isPumping) return
    isPumping = true
    for (let next = queue.take(); next !== undefined; next = queue.take()) start(next.name, next.item, now)
    isPumping = false
  }

  const start = (name: string, { deadline, job }: Ticket, now: number): void => {
    if (job.startedAt !== null) return queue.done(name)
    job.startedAt = now
    const end = (outcome: Outcome): void => {
      if (jobs.get(job.key) !== job) return
      const ended = timers.now()
      const answered = keep(job, outcome, ended)
      jobs.delete(job.key)
      queue.done(name)
      for (const waiter of job.waiters) settle(waiter, answered)
      pump(ended)
    }
    try {
      upstream.ask(job.set, job.question, Math.max(1, deadline - now))(end)
    } catch (defect) {
      run(outlive(Effect.die(defect)))
      end(broken)
    }
  }

  /** Ends the waiting. */
  const leave = (waiter: Waiter): void => {
    const { of, ticket } = waiter
    const { job } = ticket
    if (!job.waiters.delete(waiter)) return
    if (waiter.timer !== null) timers.callOff(waiter.timer)
    queue.remove(of.name, ticket)
    if (job.waiters.size === 0 && job.startedAt === null) jobs.delete(job.key)
  }

  /** A bug of who is told is its own: the places of the others, and their answers, do not hang on it. */
  const settle = (waiter: Waiter, answered: Answered): void => {
    leave(waiter)
    try {
      waiter.tell(answered)
    } catch (defect) {
      run(outlive(Effect.die(defect)))
    }
  }

  const shed = (of: Asker): Answered => {
    counters.forwards_refused++
    run(of.tellShed)
    return { _tag: "None", error: tooMany }
  }

  /** For so long, then nobody has answered. */
  const waitForAnswer = (waiter: Waiter, ms: number, now: number): void => {
    if (ms <= 0) return settle(waiter, { _tag: "None", error: noAnswer })
    waiter.timer = timers.at(now + ms, () => settle(waiter, { _tag: "None", error: noAnswer }))
  }

  const waitForPlace = (waiter: Waiter, patienceMs: number, now: number): void => {
    counters.forwards_waited++
    const queuedMs = Math.min(maxQueuedMs, patienceMs)
    waiter.timer = timers.at(now + queuedMs, () => {
      const { of, ticket } = waiter
      if (ticket.job.startedAt === null && queuedMs === maxQueuedMs) return settle(waiter, shed(of))
      waitForAnswer(waiter, patienceMs - queuedMs, timers.now())
    })
  }

  /** Joins the exchange about a question, or begins one; waits for its end. */
  const ask =
    (of: Asker, { key, patienceMs, question, set, withinMs }: Asking, now: number): Later<Answered> =>
    (tell) => {
      const known = jobs.get(key)
      const job = known ?? { key, set, question, waiters: new Set<Waiter>(), startedAt: null }
      const ticket = { job, deadline: now + withinMs }
      if (known !== undefined) counters.forwards_joined++
      if (job.startedAt === null && !queue.add(of.name, ticket)) return atOnce(shed(of))(tell)
      jobs.set(key, job)
      const waiter: Waiter = { of, ticket, tell, timer: null }
      job.waiters.add(waiter)
      pump(now)
      if (!job.waiters.has(waiter)) return () => undefined
      if (job.startedAt === null) waitForPlace(waiter, patienceMs, now)
      else waitForAnswer(waiter, patienceMs - (now - job.startedAt), now)
      return () => leave(waiter)
    }

  const served = (message: Message, keep: (address: string) => boolean, error?: ExtendedError): TunnelAnswer => ({
    _tag: "Forwarded",
    message: filterAddresses(message, keep),
    ...(error && { error })
  })

  /** With the epoch of the set's servers. */
  const forwardTo = (
    of: Asker,
    epoch: number,
    set: string,
    question: TunnelQuestion,
    withinMs: number,
    keep: (address: string) => boolean
  ): Later<Told<TunnelAnswer>> => {
    const now = timers.now()
    const key = keyOf(epoch, set, question)
    const cached = cache.find(key, now)
    if (cached?._tag === "Fresh" || cached?._tag === "Failed") counters.forwards_cached++
    if (cached?._tag === "Fresh") return atOnce(served(cached.message, keep))
    if (cached?._tag === "Failed") return atOnce(failure(cached.error))
    const serveStale = (message: Message): TunnelAnswer => {
      counters.forwards_stale++
      return served(message, keep, message.rcode === rcode.NXDomain ? staleNameError : staleAnswer)
    }
    if (cached?.failed === true) return atOnce(serveStale(cached.message))
    const patienceMs = cached === undefined ? withinMs : staleAfterMs
    const asking = ask(of, { key, set, question, withinMs, patienceMs }, now)
    return mapLater(asking, (answered) => {
      if (answered._tag === "Answer") return served(answered.message, keep)
      return cached === undefined ? failure(answered.error) : serveStale(cached.message)
    })
  }

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
    forward:
      (
        of: Asker,
        set: string,
        question: TunnelQuestion,
        withinMs: number,
        keep: (address: string) => boolean = () => false
      ): Later<Told<TunnelAnswer>> =>
      (tell) => {
        const known = upstream.epochAtOnce(set, timers.now())
        if (known !== undefined) return forwardTo(of, known, set, question, withinMs, keep)(tell)
        let giveUp = (): void => undefined
        const fiber = run(
          Effect.matchCause(upstream.epoch(set), {
            onFailure: (cause) => tell(Effect.failCause(cause)),
            onSuccess: (epoch) => {
              giveUp = forwardTo(of, epoch, set, question, withinMs, keep)(tell)
            }
          })
        )
        return () => {
          fiber.interruptUnsafe()
          giveUp()
        }
      },
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
