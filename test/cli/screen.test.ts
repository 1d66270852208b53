import { assert, it } from "@effect/vitest"
import { screenOf } from "../../src/cli/renderStatus.ts"

it("a terminal has colours, unless NO_COLOR or a dumb terminal says otherwise; a pipe is no screen", () => {
  const terminal = { isTTY: true, columns: 100, rows: 30 }

  assert.deepStrictEqual(screenOf(terminal, {}), { columns: 100, rows: 30, color: true })
  assert.isTrue(screenOf(terminal, { NO_COLOR: "" })?.color, "an empty NO_COLOR says nothing")
  assert.isFalse(screenOf(terminal, { NO_COLOR: "1" })?.color)
  assert.isFalse(screenOf(terminal, { TERM: "dumb" })?.color)
  assert.deepStrictEqual(screenOf({ ...terminal, columns: 0, rows: 0 }, {}), { columns: 80, rows: 24, color: true })
  assert.isNull(screenOf({ ...terminal, isTTY: false }, {}))
})
