import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FiberMap from "effect/FiberMap"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as PubSub from "effect/PubSub"
import * as Random from "effect/Random"
import * as Scheduler from "effect/Scheduler"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import { describeReason } from "../../src/cli/describeReason.ts"
import type { Command } from "../../src/dataplane/commands.ts"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import { EventLog } from "../../src/events/EventLog.ts"
import type { MappingId } from "../../src/model/Mapping.ts"
import { lookupTook } from "../../src/monitor/durations.ts"
import { AnswerPolicy } from "../../src/resolution/AnswerPolicy.ts"
import { inOneTurn } from "../../src/resolution/inOneTurn.ts"
import { defaultLimits } from "../../src/resolution/lookupQueue.ts"
import type { LookupResult } from "../../src/resolution/lookupResult.ts"
import { NameBook } from "../../src/resolution/NameBook.ts"
import type { Lookup } from "../../src/resolution/nameEntry.ts"
import { monotonicMillisUnsafe } from "../../src/loops/monotonic.ts"
import { withOutcomeSpan } from "../../src/loops/outcomeSpan.ts"
import { makeOutlive } from "../../src/loops/outlive.ts"
import { Resolutions } from "../../src/resolution/Resolutions.ts"
import { SetProbe } from "../../src/resolution/SetProbe.ts"
import { makeFailingSets } from "./failingSets.ts"
import { type ResolutionReason, Resolver, ServerFailure, Timeout } from "../../src/resolution/Resolver.ts"

/** Mappings that got addresses and were not read of yet; those before are left out. */
const maxFound = 4_096

/** A lookup that has not ended by then is given up, whatever the resolver does. */
const lookupTimeoutMs = 10_000

/**
 * Gives `NameBook` its clock, timers, fibers and data plane. The book's methods run in one turn and leave commands in
 * the outbox; `flush` sends them in that order before the caller goes on.
 */
export const layer: Layer.Layer<Resolutions, never, AnswerPolicy | DataPlane | Resolver> = Layer.effect(
  Resolutions,
  Effect.gen(function* () {
    const resolver = yield* Resolver
    const dataPlane = yield* DataPlane
    const refused = yield* AnswerPolicy
    const probe = yield* SetProbe
    const events = yield* EventLog
    const clock = yield* Clock.Clock
    const scope = yield* Effect.scope
    // A lookup's fiber ends in the turn in which the book learns of its end, so that the next one is not taken for it.
    const fibers = yield* FiberMap.make<number>()
    const runLookup = yield* FiberMap.runtime(fibers)().pipe(inOneTurn)
    const timers = yield* FiberSet.make()
    const runTimer = yield* FiberSet.runtime(timers)()

    const outlive = makeOutlive("Resolutions")
    const failingSets = makeFailingSets((effect) => void runTimer(outlive(effect)))

    const outbox: Array<Effect.Effect<void>> = []
    const flush = inOneTurn(
      Effect.whileLoop({ while: () => outbox.length > 0, body: () => outbox.shift()!, step: () => {} })
    )
    const found = yield* PubSub.sliding<MappingId>(maxFound)
    /** Who waits for a mapping's first lookup. */
    const waiting = new Map<MappingId, Set<() => void>>()
    const wakeWaiting = (command: Command): void => {
      if (command._tag !== "RemoveMapping" && (command._tag !== "SetAddresses" || command.state === "Resolving")) return
      wakeFor(command.mapping)
    }
    const wakeFor = (mapping: MappingId): void => {
      const waiters = waiting.get(mapping)
      waiting.delete(mapping)
      waiters?.forEach((wake) => wake())
    }
    const now = () => monotonicMillisUnsafe(clock)

    /** A trace of its own, since many may ask for one name; it links to the question or packet that made it begin. */
    const lookUp = ({ cause, client, name, number }: Lookup, causedBy: Tracer.AnySpan | undefined) =>
      Effect.gen(function* () {
        const began = now()
        const result = yield* resultOf(Effect.suspend(() => resolver.resolve(name)))
        const outcome = result._tag === "Answer" ? "answer" : result.reason._tag
        yield* lookupTook(outcome, now() - began)
        const { domain, resolver: set } = name
        yield* Effect.annotateCurrentSpan({ resolver: set, domain, cause, client, lookup: number, outcome })
        return result
      }).pipe(
        withOutcomeSpan(
          "Resolutions.lookup",
          { root: true, links: causedBy === undefined ? [] : [{ span: causedBy, attributes: {} }] },
          problemOf
        )
      )

    const lookUpAndTell = Effect.fnUntraced(function* (lookup: Lookup, causedBy: Tracer.AnySpan | undefined) {
      yield* Effect.yieldNow
      const since = now()
      const result = yield* Effect.provideService(lookUp(lookup, causedBy), Scheduler.PreventSchedulerYield, false)
      yield* events.record({
        _tag: "Lookup",
        client: lookup.client,
        ...lookup.name,
        cause: lookup.cause,
        ...(result._tag === "Answer"
          ? { outcome: "answer", addresses: result.answer.addresses }
          : { outcome: result.reason._tag, addresses: [] }),
        durationMs: Math.round(now() - since)
      })
      const random = yield* Random.next
      book.ended(lookup, result, random)
      yield* flush
    })

    /** Of who has the turn. */
    let asking: Tracer.AnySpan | undefined
    const book: NameBook = new NameBook(
      {
        now,
        send: (command: Command) => {
          outbox.push(dataPlane.send(command))
          wakeWaiting(command)
          if (command._tag === "SetAddresses" && command.state === "Resolved")
            PubSub.publishUnsafe(found, command.mapping)
        },
        start: (lookup) =>
          void runLookup(lookup.number, outlive(lookUpAndTell(lookup, asking)), { onlyIfMissing: true }),
        stop: (lookup) => void outbox.push(Effect.asVoid(Effect.forkIn(FiberMap.remove(fibers, lookup.number), scope))),
        wake: (delay, run) =>
          void runTimer(
            Effect.sleep(Math.max(0, Math.ceil(delay))).pipe(
              Effect.andThen(
                Effect.suspend(() => {
                  run()
                  return flush
                })
              ),
              outlive
            )
          ),
        ping: (resolver) =>
          void runTimer(
            Effect.gen(function* () {
              const since = now()
              const answered = yield* probe(resolver)
              book.pinged(resolver, since, answered)
              yield* flush
            }).pipe(outlive)
          ),
        refused,
        setChanged: (resolver, failing) => void outbox.push(failingSets(resolver, failing))
      },
      defaultLimits
    )
    const turn = <A>(change: () => A): Effect.Effect<A> =>
      Effect.contextWith((context: Context.Context<never>) => {
        asking = Context.getOrUndefined(context, Tracer.ParentSpan)
        try {
          return Effect.as(flush, change())
        } finally {
          asking = undefined
        }
      }).pipe(inOneTurn)

    return Resolutions.of({
      subscribe: (request) => turn(() => book.subscribe(request)),
      askAgain: (...asked) => book.askAgain(...asked),
      meet: (resolver) => turn(() => book.meet(resolver)),
      renew: (resolver) => turn(() => book.renew(resolver)),
      refresh: Effect.fnUntraced(function* (mapping, cause) {
        const of = book.mapping(mapping)
        if (of !== undefined) {
          const { client, name, resources } = of
          yield* Effect.annotateCurrentSpan({ client, resource: resources[0], domain: name.domain })
        }
        const outcome = yield* turn(() => book.refresh(mapping, cause))
        yield* Effect.annotateCurrentSpan({ outcome })
      }),
      answered: (mapping) => turn(() => book.answered(mapping)),
      release: (mapping) => turn(() => book.release(mapping)),
      granted: (client, resource) => turn(() => book.granted(client, resource)),
      releaseWhere: (client, resource) => turn(() => book.releaseWhere(client, resource)),
      revoked: (client, resource) =>
        turn(() => {
          book.revoked(client, resource)
          for (const mapping of waiting.keys()) if (!book.isResolving(mapping)) wakeFor(mapping)
        }),
      find: (client, resource, domain) => Effect.sync(() => book.find(client, resource, domain)),
      firstLookupAt: (mapping) => book.firstLookupAt(mapping),
      answersNobody: (resolver, client) => book.answersNobody(resolver, client),
      settled: (mapping) =>
        Effect.callback<void>((resume) => {
          if (!book.isResolving(mapping)) return resume(Effect.void)
          const wake = () => resume(Effect.void)
          const waiters = waiting.get(mapping)
          if (waiters === undefined) waiting.set(mapping, new Set([wake]))
          else waiters.add(wake)
          return Effect.sync(() => {
            const left = waiting.get(mapping)
            if (left?.delete(wake) === true && left.size === 0) waiting.delete(mapping)
          })
        }),
      mappingOf: (mapping) => Effect.sync(() => book.mapping(mapping)),
      ownerOf: (client, proxyIp) => Effect.sync(() => book.ownerOf(client, proxyIp)),
      count: (client) => Effect.sync(() => book.mappingsOf(client)),
      hasMappings: (client, resource) => Effect.sync(() => book.hasMappings(client, resource)),
      list: Effect.sync(() => book.list()),
      found: Stream.fromPubSub(found),
      counters: Effect.sync(() => book.counters())
    })
  })
)

/** The one place where whatever a resolver does becomes an answer or a reason. */
const resultOf = <E extends { readonly reason: ResolutionReason }>(
  resolve: Effect.Effect<Extract<LookupResult, { _tag: "Answer" }>["answer"], E>
): Effect.Effect<LookupResult> =>
  resolve.pipe(
    Effect.map((answer): LookupResult => ({ _tag: "Answer", answer })),
    Effect.timeoutOrElse({
      duration: lookupTimeoutMs,
      orElse: () => Effect.succeed(failure(new Timeout({ afterMs: lookupTimeoutMs })))
    }),
    Effect.catchCause((cause) => {
      const error = cause.reasons.find(Cause.isFailReason)?.error
      if (error !== undefined) return Effect.succeed(failure(error.reason))
      const detail = `the resolver itself failed: ${Cause.pretty(cause).split("\n", 1)[0]}`
      return Effect.as(Effect.logError(detail), failure(new ServerFailure({ detail })))
    })
  )

/** That a name does not exist, or has no addresses, is an answer. */
const problemOf = (result: LookupResult): string | null =>
  result._tag === "Answer" || result.reason._tag === "NameNotFound" || result.reason._tag === "NoAddresses"
    ? null
    : describeReason(result.reason)

const failure = (reason: ResolutionReason): LookupResult => ({ _tag: "Failure", reason })
