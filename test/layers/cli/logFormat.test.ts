import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestConsole } from "effect/testing"
import { withLogFormat } from "../../../layers/cli/logFormat.ts"
import { layerLog } from "../../../layers/cli/runProcess.ts"

/** Clears the screen, begins a red text in one byte, turns the writing around. */
const hostile = "evil\u001b[2J\u009b31m\u202Ename"

it.effect("a log line commands no terminal, whatever the network put into it", () =>
  Effect.gen(function* () {
    const log = Effect.logWarning(hostile).pipe(
      Effect.annotateLogs({ client: hostile, domain: `two\n${hostile} words` })
    )
    yield* Effect.provide(log, layerLog)
    yield* withLogFormat("json")(log)
    const lines = (yield* TestConsole.errorLines).map(String)

    assert.strictEqual(lines.length, 2)
    for (const line of lines) {
      assert.notMatch(line, /[\p{Cc}\p{Cf}]/u)
      assert.match(line, /evil.*name/)
    }
    assert.strictEqual(JSON.parse(lines[1]!).level, "WARN")
  })
)
