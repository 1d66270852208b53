import * as Effect from "effect/Effect"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import { ConfigError } from "../config/problem.ts"
import { parseKey } from "../config/values.ts"

/** The private key on standard input; `example`: how one gets there. */
export const keyFromInput = Effect.fnUntraced(function* (example: string) {
  const stdio = yield* Stdio.Stdio
  // A key is 44 characters: reading stops soon, whatever standard input is.
  const text = yield* stdio.stdin.pipe(
    Stream.decodeText(),
    Stream.scan(
      () => "",
      (seen, text) => seen + text
    ),
    Stream.takeUntil((seen) => seen.length > 100),
    Stream.runLast,
    Effect.map((last) => (last._tag === "Some" ? last.value.trim() : "")),
    Effect.mapError(() => new ConfigError({ message: "standard input cannot be read — pipe a private key into it" }))
  )
  return yield* Effect.mapError(
    Effect.fromResult(parseKey(text)),
    ({ cause }) => new ConfigError({ message: `standard input is ${cause} — try: ${example}` })
  )
})
