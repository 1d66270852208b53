import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import type { PathCount } from "../../src/host/pathCounters.ts"
import { judgePaths, lostPaths, type PathJudgement, suspects, withCertain } from "../../src/host/pathLoss.ts"

const way = { way: "service", family: "ipv4", protocol: "udp", device: "" } as const

const count = (first: number, last: number, rest: Partial<PathCount> = {}): PathCount => ({
  ...way,
  ...rest,
  first,
  last
})

/** Looks at one way once a second; each look is what has come in and what has left so far. */
const look = (looks: ReadonlyArray<readonly [first: number, last: number]>, rest: Partial<PathCount> = {}) => {
  let judgement: PathJudgement = new Map()
  const told: Array<string> = []
  for (const [second, [first, last]] of looks.entries()) {
    const news = judgePaths(judgement, [count(first, last, rest)], second * 1000)
    judgement = news.next
    told.push(
      ...news.suspected.map(() => `${second}: suspected`),
      ...news.lost.map(({ lost, passed }) => `${second}: ${lost} lost, ${passed} passed`),
      ...news.healed.map(() => `${second}: healed`)
    )
  }
  return { told, judgement }
}

describe("judgePaths", () => {
  it("is told when nothing comes through for longer than a burst lasts, and once", () => {
    assert.deepStrictEqual(
      look([
        [1, 0],
        [2, 0],
        [3, 0],
        [4, 0],
        [5, 0]
      ]).told,
      ["0: suspected", "2: 3 lost, 0 passed"]
    )
  })

  it("is told of two lost packets that are some seconds apart", () => {
    assert.deepStrictEqual(
      look([
        [1, 0],
        [1, 0],
        [1, 0],
        [1, 0],
        [2, 0]
      ]).told,
      ["0: suspected", "4: 2 lost, 0 passed"]
    )
  })

  it("is not told of one lost packet, nor of a burst", () => {
    assert.deepStrictEqual(
      look([
        [1, 0],
        [1, 0],
        [1, 0],
        [1, 0]
      ]).told,
      ["0: suspected"]
    )
    assert.deepStrictEqual(
      look([
        [500, 0],
        [900, 0],
        [900, 0],
        [950, 50],
        [990, 90]
      ]).told,
      ["0: suspected"]
    )
  })

  it("is told late where some come through, and not at all where most do", () => {
    const some = look([
      [10, 2],
      [20, 4],
      [30, 6],
      [40, 8],
      [50, 10],
      [60, 12]
    ])
    assert.deepStrictEqual(some.told, ["0: suspected", "5: 48 lost, 10 passed"])
    assert.deepStrictEqual(
      look([
        [10, 7],
        [20, 14],
        [30, 21],
        [40, 28],
        [50, 35],
        [60, 42]
      ]).told,
      []
    )
  })

  it("tells that it is healed when packets come through again, and tells the next loss", () => {
    const { judgement, told } = look([
      [1, 0],
      [2, 0],
      [3, 0],
      [5, 2],
      [6, 2],
      [7, 2],
      [8, 2]
    ])

    assert.deepStrictEqual(told, [
      "0: suspected",
      "2: 3 lost, 0 passed",
      "3: healed",
      "4: suspected",
      "6: 3 lost, 0 passed"
    ])
    assert.lengthOf(lostPaths(judgement), 1)
  })

  it("is not healed by the few that come through", () => {
    const { told } = look([
      [1, 0],
      [2, 0],
      [3, 0],
      [13, 7],
      [33, 26]
    ])
    assert.deepStrictEqual(told, ["0: suspected", "2: 3 lost, 0 passed", "4: healed"])
  })

  it("forgets a lost packet after half a minute: another one is the first again", () => {
    const quiet = Array.from({ length: 32 }, () => [1, 0] as const)
    assert.deepStrictEqual(look([...quiet, [2, 0], [2, 0]]).told, ["0: suspected", "32: suspected"])
  })

  it("says that more is lost on a way that was told, for who is to blame may be another one by now", () => {
    let judgement: PathJudgement = new Map()
    const still = [1, 2, 3, 3, 4].map((first, second) => {
      const news = judgePaths(judgement, [count(first, 0)], second * 1000)
      judgement = news.next
      return news.still.length
    })
    assert.deepStrictEqual(still, [0, 0, 0, 0, 1])
  })

  it("waits longer for a packet worker, which may rest", () => {
    const looks = Array.from({ length: 8 }, (_, i) => [i + 1, 0] as const)
    assert.deepStrictEqual(look(looks, { way: "listen" }).told, ["0: suspected", "6: 7 lost, 0 passed"])
  })

  it("takes a socket that overflows, as in a flood, for an open one", () => {
    const looks = Array.from({ length: 8 }, (_, i) => [40_000 * i, 300 * i] as const)
    assert.deepStrictEqual(look(looks, { way: "listen" }).told, [])
  })

  it("takes counts that have fallen for those of a new table", () => {
    assert.deepStrictEqual(
      look([
        [100, 100],
        [1, 1],
        [2, 2]
      ]).told,
      []
    )
  })

  it("keeps ways apart", () => {
    const { next } = judgePaths(new Map(), [count(3, 0), count(3, 3, { protocol: "tcp" })], 0)
    assert.isTrue(suspects(next))
    assert.lengthOf(lostPaths(withCertain(next, way)), 1)
    assert.lengthOf(lostPaths(withCertain(next, { ...way, protocol: "tcp" })), 0)
  })

  it.prop(
    "never suspects a host that lets everything through, at whatever moments it is looked at",
    [
      Schema.Array(
        Schema.Struct({
          packets: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 50 })),
          late: Schema.Boolean
        })
      )
    ],
    ([steps]) => {
      let judgement: PathJudgement = new Map()
      let all = 0
      for (const [i, { late, packets }] of steps.entries()) {
        // The last count is read after the first one: packets between the two reads are in it alone.
        const first = all
        all += packets
        const last = late ? all : first
        judgement = judgePaths(judgement, [count(first, last)], i * 1000).next
        if (!late) all = Math.max(first, last)
        assert.isFalse(suspects(judgement))
        judgement = judgePaths(judgement, [count(all, all)], i * 1000 + 500).next
        assert.isFalse(suspects(judgement))
      }
    }
  )
})
