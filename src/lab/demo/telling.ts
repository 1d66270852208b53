/** How a story is told: line by line, in steps that name themselves when they fail. */
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { LabError } from "./Lab.ts"
import { StoryFailed, type StoryStep } from "./StoryResult.ts"

/** What the lab could not do fails the step. */
export const step = <A, R>(
  at: StoryStep,
  effect: Effect.Effect<A, StoryFailed | LabError, R>
): Effect.Effect<A, StoryFailed, R> => Effect.catchTag(effect, "LabError", (error) => wrong(at, error.message))

/** The step did not go as promised. */
export const wrong = (at: StoryStep, message: string): Effect.Effect<never, StoryFailed> =>
  Effect.fail(new StoryFailed({ step: at, message: `step "${at}" failed: ${message}` }))

export const chapter = (text: string) => Console.log(`\n  ${text}`)

/** `kept`: a promise that was just checked. */
export const line = (who: string, text: string, kept = false) =>
  Console.log(`  ${kept ? "✔" : " "} ${who.padEnd(8)} ${text}`)

/** How many milliseconds it took, and what came of it. */
export const timed = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<readonly [number, A], E, R> =>
  Effect.map(Effect.timed(effect), ([took, value]) => [Duration.toMillis(took), value])

export const ms = (milliseconds: number): string =>
  milliseconds < 1000 ? `${milliseconds.toFixed(1)} ms` : `${(milliseconds / 1000).toFixed(2)} s`
