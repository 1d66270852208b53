import * as Effect from "effect/Effect"
import { makeOutlive } from "./outlive.ts"

/** A bug that is met again at once must not keep the processor busy. */
const afterDefect = "1 second"

/**
 * Takes one turn after the other until interrupted. A bug ends its turn only: it is counted and told (`makeOutlive`), and
 * the next turn begins a second later. So a turn that works and then waits a second has the same rhythm, come what may.
 */
export const superviseForever = <E, R>(loop: string, turn: Effect.Effect<unknown, E, R>): Effect.Effect<never, E, R> =>
  Effect.suspend(() => {
    const outlive = makeOutlive(loop)
    return Effect.forever(
      Effect.flatMap(outlive(Effect.as(turn, true)), (well) =>
        well === true ? Effect.void : Effect.sleep(afterDefect)
      )
    )
  })
