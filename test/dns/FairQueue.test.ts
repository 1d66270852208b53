import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { FairQueue } from "../../src/dns/FairQueue.ts"

const queueOf = (running: number, waiting = 1_000, waitingEach = 1_000) =>
  new FairQueue<string>({ running, waiting, waitingEach })

const takeAll = (queue: FairQueue<string>): Array<string> => {
  const taken: Array<string> = []
  for (let next = queue.take(); next !== undefined; next = queue.take()) taken.push(next.item)
  return taken
}

const addMany = (queue: FairQueue<string>, name: string, count: number): number =>
  Array.from({ length: count }, (_, n) => queue.add(name, `${name}${n}`)).filter(Boolean).length

describe("FairQueue", () => {
  it("serves who waits in turns, however much the others have waiting", () => {
    const queue = queueOf(12)
    addMany(queue, "a", 100)
    addMany(queue, "b", 2)
    addMany(queue, "c", 1)
    assert.deepStrictEqual(takeAll(queue).slice(0, 5), ["a0", "b0", "c0", "a1", "b1"])
  })

  it("gives one alone half of the places, two a third each, and keeps room for who comes next", () => {
    const queue = queueOf(12)
    addMany(queue, "a", 100)
    assert.lengthOf(takeAll(queue), 6)
    addMany(queue, "b", 100)
    assert.lengthOf(takeAll(queue), 3)
    for (let n = 0; n < 3; n++) queue.done("a")
    assert.deepStrictEqual(takeAll(queue), ["a6", "b3"])
    addMany(queue, "c", 1)
    assert.deepStrictEqual(takeAll(queue), ["c0"])
  })

  it("gives a place that becomes free to the next in turn", () => {
    const queue = queueOf(3)
    addMany(queue, "a", 3)
    addMany(queue, "b", 3)
    assert.deepStrictEqual(takeAll(queue), ["a0", "b0"])
    queue.done("a")
    assert.deepStrictEqual(takeAll(queue), ["a1"])
    queue.done("b")
    assert.deepStrictEqual(takeAll(queue), ["b1"])
  })

  it("bounds what waits: of one, and of all so that one leaves room for others", () => {
    const queue = queueOf(1, 100, 40)
    assert.strictEqual(addMany(queue, "a", 100), 40)
    assert.strictEqual(addMany(queue, "b", 100), 30)
    assert.strictEqual(addMany(queue, "c", 100), 15)
    assert.isTrue(queue.add("d", "d"))
  })

  it("forgets what is taken back, and its room is free again", () => {
    const queue = queueOf(4, 10, 2)
    addMany(queue, "a", 2)
    queue.remove("a", "a0")
    queue.remove("a", "a0")
    queue.remove("b", "b0")
    assert.isTrue(queue.add("a", "a2"))
    assert.deepStrictEqual(takeAll(queue), ["a1", "a2"])
    queue.remove("a", "a1")
    queue.done("a")
    queue.done("a")
    assert.isUndefined(queue.take())
  })

  it.prop(
    "holds no more than its places and never leaves one free that somebody may have, whatever happens",
    [
      Schema.Array(
        Schema.Struct({ what: Schema.Literals(["add", "add", "take", "done"]), who: Schema.Literals(["a", "b", "c"]) })
      )
    ],
    ([steps]) => {
      const queue = queueOf(4, 6, 4)
      const running = new Map([
        ["a", 0],
        ["b", 0],
        ["c", 0]
      ])
      const waiting = new Map(running)
      const sum = (of: ReadonlyMap<string, number>) => [...of.values()].reduce((a, b) => a + b, 0)
      let serial = 0
      for (const { what, who } of steps) {
        if (what === "add") {
          const room = waiting.get(who)! < Math.min(4, 6 - sum(waiting))
          assert.strictEqual(queue.add(who, `${serial++}`), room)
          if (room) waiting.set(who, waiting.get(who)! + 1)
        } else if (what === "take") {
          const free = 4 - sum(running)
          const may = [...waiting].some(([name, count]) => count > 0 && running.get(name)! < free)
          const taken = queue.take()
          assert.strictEqual(taken !== undefined, may)
          if (taken === undefined) continue
          waiting.set(taken.name, waiting.get(taken.name)! - 1)
          running.set(taken.name, running.get(taken.name)! + 1)
        } else if (running.get(who)! > 0) {
          queue.done(who)
          running.set(who, running.get(who)! - 1)
        }
        assert.isAtMost(sum(running), 4)
      }
    }
  )
})
