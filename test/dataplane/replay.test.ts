/** A worker that lived through any commands, and the one that is started after its death. */
import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { DesiredState } from "../../src/dataplane/DesiredState.ts"
import { contested, holds, loneEngine } from "../support/engineLives.ts"

const Lives = Schema.Array(Schema.Literals(contested.map((_, i) => i)))

describe("the desired state of contested clients and names", () => {
  it.prop(
    "is the same to a worker that lived through all commands and to one that was made from the replay",
    [Lives],
    ([life]) => {
      const desired = new DesiredState()
      const lived = loneEngine().engine
      for (const i of life) for (const order of desired.apply(contested[i]!)) lived.execute(order, 1_000, 1_000)
      const next = loneEngine().engine
      for (const order of desired.replay(1_000)) next.execute(order, 1_000, 1_000)
      assert.deepStrictEqual(holds(next), holds(lived))
    },
    { arbitrary: { runs: 500, size: 60 }, timeout: 60_000 }
  )
})
