/** Work of many, a little of it at each turn of the event loop. */
import { setImmediate as nextTurn } from "node:timers/promises"
import { assert, describe, it } from "@effect/vitest"
import { Turns } from "../../../layers/dns/turns.ts"

describe("work that throws", () => {
  it("is told, and holds up nothing behind it, be it done at once or in its turn", async () => {
    const [told, done]: [Array<unknown>, Array<number>] = [[], []]
    const turns = new Turns(100, (defect) => told.push(defect))
    for (let i = 0; i < 40; i++) {
      turns.add("a", () => {
        if (i % 20 === 0) throw i
        done.push(i)
        return 1
      })
    }
    for (let i = 0; i < 4; i++) await nextTurn()
    assert.deepStrictEqual([told, done.length], [[0, 20], 38])
  })
})
