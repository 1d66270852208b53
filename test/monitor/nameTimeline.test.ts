import { assert, describe, it } from "@effect/vitest"
import { nameTimeline } from "../../src/monitor/nameTimeline.ts"

const window = { from: 0, most: 10 }
const good = (at: number) => ({ at, outcome: "answer", addresses: ["10.0.0.1"] })
const failed = (at: number, outcome: string) => ({ at, outcome, addresses: [] })

describe("a name's timeline", () => {
  it("is what each lookup made of it: a server's failure leaves a stale answer, a negative one nothing", () => {
    const timeline = nameTimeline(
      [
        failed(10, "Timeout"),
        good(20),
        good(30),
        failed(40, "ServerFailure"),
        failed(50, "Timeout"),
        good(60),
        failed(70, "NameNotFound"),
        failed(80, "Timeout"),
        failed(90, "answer")
      ],
      { state: "Unresolved", from: 90 },
      window
    )

    assert.deepStrictEqual(timeline, [
      { state: "Unresolved", from: 10 },
      { state: "Resolved", from: 20 },
      { state: "Stale", from: 40 },
      { state: "Resolved", from: 60 },
      { state: "Unresolved", from: 70 }
    ])
  })

  it("ends with what the name is now, whatever is remembered of it", () => {
    assert.deepStrictEqual(nameTimeline([], { state: "Resolved", from: 5 }, window), [{ state: "Resolved", from: 5 }])
    assert.deepStrictEqual(nameTimeline([good(20)], { state: "Resolving", from: 30 }, window), [
      { state: "Resolved", from: 20 },
      { state: "Resolving", from: 30 }
    ])
    // A last good answer that has outlived its time: nobody looked it up.
    assert.deepStrictEqual(nameTimeline([good(20), failed(30, "Timeout")], { state: "Unresolved", from: 25 }, window), [
      { state: "Resolved", from: 20 },
      { state: "Stale", from: 30 },
      { state: "Unresolved", from: 30 }
    ])
  })

  it("begins with what was so at the window's start, and keeps the last stretches", () => {
    const lookups = [good(10), failed(20, "NameNotFound"), good(30), failed(40, "NameNotFound")]
    const now = { state: "Unresolved", from: 40 } as const

    assert.deepStrictEqual(
      nameTimeline(lookups, now, { from: 25, most: 10 }).map(({ from }) => from),
      [20, 30, 40]
    )
    assert.deepStrictEqual(
      nameTimeline(lookups, now, { from: 0, most: 2 }).map(({ from }) => from),
      [30, 40]
    )
  })
})
