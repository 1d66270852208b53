/** How a gateway gives its clients away: it says so, waits until the others know, and is not ready from then on. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { monotonicMillis } from "../../src/loops/monotonic.ts"
import { superviseForever } from "../../src/loops/superviseForever.ts"
import type { Draining } from "../../src/shared/draining.ts"
import { DrainRefused, type DrainStanding } from "../../src/shared/Presence.ts"

/** The others are there once a second, and know after the second time. */
const tellingMs = 10_000
const lookMs = 100
const watchTime = "1 second"

interface Parts {
  readonly draining: Draining
  /** Clients that are here. */
  readonly clients: () => number
  /** That it drains, or does so no more, is to be carried out, and told. */
  readonly changed: (drains: boolean) => Effect.Effect<void>
}

export const makeDrain = Effect.fnUntraced(function* ({ changed, clients, draining }: Parts) {
  let isForced = false
  /** It was not refused: until then nothing is to follow from it. */
  let isGranted = false
  const standing = (): DrainStanding | null => {
    const report = draining.report()
    if (report === null) return null
    return { since: report.since, mayMove: isForced || (isGranted && report.untold.length === 0), clients: clients() }
  }

  /** Why the address may not move yet, if it is so in the end. */
  const untilTold = Effect.gen(function* () {
    for (let waited = 0; waited < tellingMs; waited += lookMs) {
      yield* Effect.sleep(lookMs)
      const report = draining.report()
      if (report === null) return "it was undrained meanwhile"
      const { older, told, untold } = report
      if (untold.length > 0 || told.length === 0) continue
      if (older.length === 0) return null
      return `gateway ${older.join(", ")} is of an older version, which takes nothing that is under way — upgrade it, or add --force`
    }
    const untold = draining.report()?.untold ?? []
    return untold.length === 0
      ? "no other gateway of the site is heard of that takes clients, so nobody would have them — see sallyport status, or add --force"
      : `gateway ${untold.join(", ")} has not heard of it within ${tellingMs / 1_000} s — see sallyport status there, or add --force`
  })

  const stop = Effect.suspend(() => {
    draining.end()
    isForced = false
    isGranted = false
    return changed(false)
  })

  const begin = Effect.fnUntraced(function* (force: boolean) {
    const wasOn = draining.isOn
    if (!wasOn) {
      draining.begin(yield* monotonicMillis)
      yield* changed(true)
    }
    // Another one may have been forced meanwhile.
    const undo = Effect.suspend(() => (wasOn || isForced || isGranted ? Effect.void : stop))
    const why = force ? null : yield* Effect.onInterrupt(untilTold, () => undo)
    if (why !== null) {
      yield* undo
      return yield* new DrainRefused({ message: why })
    }
    isForced ||= force
    isGranted = true
    const here = clients()
    if (!wasOn) {
      yield* Effect.logInfo("this gateway gives its clients away").pipe(Effect.annotateLogs({ clients: here }))
    }
    return `${here} ${here === 1 ? "client is" : "clients are"} here, and the address that they dial may move now`
  })

  const end = Effect.gen(function* () {
    yield* stop
    yield* Effect.logInfo("this gateway takes clients again")
    return "this gateway takes clients again"
  })

  let wereHere = false
  const watch = Effect.gen(function* () {
    yield* Effect.sleep(watchTime)
    const now = standing()
    const areHere = now !== null && now.clients > 0
    if (now !== null && wereHere && !areHere) {
      yield* Effect.logInfo("no client is here any more: this gateway may be stopped")
    }
    wereHere = areHere
  })
  const forked: Effect.Effect<unknown, never, Scope.Scope> = Effect.forkScoped(
    superviseForever("Presence.draining", watch)
  )
  yield* forked
  return { standing, begin, end }
})
