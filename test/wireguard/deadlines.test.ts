import { assert, describe, it } from "@effect/vitest"
import { Arbitrary } from "effect"
import { Deadlines, type Timed } from "../../src/wireguard/timers.ts"
import { integer } from "../support/packetArbitraries.ts"

interface Item extends Timed {
  readonly id: number
}

const step = Arbitrary.all([integer(0, 5), integer(0, 30), integer(0, 1_000)])

describe("the heap of deadlines", () => {
  it.prop(
    "gives out what a sorted list would, through moves and removals",
    [Arbitrary.array(step, { maxLength: 200 })],
    ([steps]) => {
      const heap = new Deadlines<Item>()
      const items = Array.from({ length: 31 }, (_, id): Item => ({ id, heapIndex: -1, deadline: 0 }))
      const model = new Map<number, number>()
      for (const [what, id, at] of steps) {
        if (what < 4) {
          heap.atLatest(items[id]!, at)
          model.set(id, Math.min(at, model.get(id) ?? Number.POSITIVE_INFINITY))
        } else if (what === 4) {
          heap.remove(items[id]!)
          model.delete(id)
        } else {
          for (let due = heap.takeDue(at); due !== undefined; due = heap.takeDue(at)) {
            const earliest = Math.min(...model.values())
            assert.strictEqual(model.get(due.id), earliest)
            assert.isAtMost(earliest, at)
            model.delete(due.id)
          }
          assert.isTrue([...model.values()].every((deadline) => deadline > at))
        }
        assert.strictEqual(heap.next(), Math.min(...model.values()))
      }
    },
    { arbitrary: { runs: 300 } }
  )

  it("keeps its order when the last item takes the place of one in a later branch", () => {
    const heap = new Deadlines<Item>()
    const items = [0, 10, 1, 11, 12, 20, 3].map((at, id) => {
      const item: Item = { id, heapIndex: -1, deadline: 0 }
      heap.atLatest(item, at)
      return item
    })

    heap.remove(items[3]!)

    const order = Array.from({ length: 6 }, () => {
      const at = heap.next()
      heap.takeDue(at)
      return at
    })
    assert.deepStrictEqual(order, [0, 1, 3, 10, 12, 20])
  })

  it("takes no item that waits for nothing", () => {
    const heap = new Deadlines<Item>()
    heap.atLatest({ id: 0, heapIndex: -1, deadline: 0 }, Number.POSITIVE_INFINITY)

    assert.strictEqual(heap.next(), Number.POSITIVE_INFINITY)
    assert.isUndefined(heap.takeDue(Number.MAX_SAFE_INTEGER))
  })
})
