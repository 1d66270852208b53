import * as Effect from "effect/Effect"
import { monotonicMillis } from "./monotonic.ts"

/** The same kind of oddity is told again after this long, with how often it came. */
const againMs = 60_000
/** Kinds come from outside: of more, nothing is told. */
const maxKinds = 64

/**
 * Says odd things once a minute and kind: what is told is bounded, however odd the other side is. `details` are logged
 * behind the message.
 */
export const makeOddities = (
  log: (...message: ReadonlyArray<unknown>) => Effect.Effect<void> = Effect.logWarning
): ((kind: string, message: string, ...details: ReadonlyArray<unknown>) => Effect.Effect<void>) => {
  const told = new Map<string, { at: number; since: number }>()
  return Effect.fnUntraced(function* (kind, message, ...details) {
    const now = yield* monotonicMillis
    const known = told.get(kind)
    if (known === undefined && told.size >= maxKinds) return
    if (known !== undefined && now - known.at < againMs) {
      known.since++
      return
    }
    const more = known === undefined || known.since === 0 ? "" : ` (${known.since} more since it was said last)`
    told.set(kind, { at: now, since: 0 })
    yield* log(`${message}${more}`, ...details)
  })
}
