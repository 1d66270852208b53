import { it } from "@effect/vitest"
import type { Effect, Scope } from "effect"

/** `it.live` for a test in a lab of its own: two of a file run at a time, as most of what they do is to wait. */
export const inPairs = <A, E>(title: string, test: () => Effect.Effect<A, E, Scope.Scope>): void =>
  it.live(title, test, { concurrent: true, timeout: 2 * 60_000 })
