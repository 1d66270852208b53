import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { LabError, type LabProcess } from "./Lab.ts"

/** Repeats the probe for 40 seconds; a process that ends before is an error with what it said. */
export const untilReady = <A>(
  child: LabProcess,
  what: string,
  probe: Effect.Effect<A, LabError>
): Effect.Effect<A, LabError> =>
  probe.pipe(
    Effect.retry(Schedule.spaced("100 millis")),
    Effect.timeoutOrElse({
      duration: "40 seconds",
      orElse: () =>
        Effect.flatMap(child.output, (output) =>
          Effect.fail(new LabError({ message: `${what} was not ready within 40 s: ${lastLine(output)}` }))
        )
    }),
    Effect.raceFirst(
      Effect.gen(function* () {
        const code = yield* child.exit
        return yield* new LabError({ message: `${what} ended with code ${code}: ${lastLine(yield* child.output)}` })
      })
    )
  )

const lastLine = (output: string): string => output.trim().split("\n").at(-1) || "it said nothing"
