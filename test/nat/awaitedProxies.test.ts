import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { AwaitedProxies } from "../../src/nat/awaitedProxies.ts"
import { words } from "../../src/packet/address.ts"

const limits = { perClient: 3, total: 5, awaitFor: 2_000, refuseFor: 5_000, askEvery: 1_000 }

const proxy = (n: number) => words(0, 0, 0xffff, 0x64600000 + n)

const expired = (awaited: AwaitedProxies, now: number): ReadonlyArray<number> => {
  const rows: Array<number> = []
  awaited.expire(now, (row) => rows.push(row))
  return rows
}

describe("a proxy address that stands for nothing yet", () => {
  it("is waited for in one row, at each client by itself, and asked about once a second", () => {
    const awaited = new AwaitedProxies(limits)

    const row = awaited.waiting(1, proxy(1), 0)

    assert.isAtLeast(row, 0)
    assert.strictEqual(awaited.waiting(1, proxy(1), 1_999), row)
    assert.notStrictEqual(awaited.waiting(2, proxy(1), 0), row)
    assert.strictEqual(awaited.clientOf(row), 1)
    assert.deepStrictEqual(
      [0, 1, 999, 1_000, 1_001].map((now) => awaited.asks(row, now)),
      [true, false, false, true, false]
    )
  })

  it("is told of once its time is up, refused for 5 s, and then waited for again", () => {
    const awaited = new AwaitedProxies(limits)
    const row = awaited.waiting(1, proxy(1), 0)

    assert.deepStrictEqual(expired(awaited, 1_999), [])
    assert.deepStrictEqual(expired(awaited, 2_000), [row])
    assert.deepStrictEqual(expired(awaited, 2_100), [])

    assert.strictEqual(awaited.waiting(1, proxy(1), 6_999), -1)
    assert.isAtLeast(awaited.waiting(1, proxy(1), 7_000), 0)
  })

  it("that nothing comes for is refused at once", () => {
    const awaited = new AwaitedProxies(limits)
    const row = awaited.waiting(1, proxy(1), 0)

    assert.strictEqual(awaited.refuse(1, proxy(1), 100), row)

    assert.strictEqual(awaited.refuse(1, proxy(1), 100), -1)
    assert.strictEqual(awaited.refuse(1, proxy(2), 100), -1)
    assert.strictEqual(awaited.waiting(1, proxy(1), 5_099), -1)
    assert.isAtLeast(awaited.waiting(1, proxy(1), 5_100), 0)
  })

  it("is one of few: of a client, and of all; the refused ones count until they are forgotten", () => {
    const awaited = new AwaitedProxies(limits)
    const taken = (client: number, now: number) =>
      [1, 2, 3, 4].filter((n) => awaited.waiting(client, proxy(n), now) >= 0).length

    assert.strictEqual(taken(1, 0), 3)
    assert.strictEqual(taken(2, 0), 2)

    expired(awaited, 2_000)
    assert.strictEqual(awaited.waiting(1, proxy(5), 2_000), -1)
    expired(awaited, 7_000)
    assert.strictEqual(awaited.size, 0)
    assert.strictEqual(taken(2, 7_000), 3)
  })

  it("ends when something stands for it, or with its client", () => {
    const awaited = new AwaitedProxies(limits)
    const [first, second] = [1, 2].map((n) => awaited.waiting(1, proxy(n), 0))
    const other = awaited.waiting(2, proxy(1), 0)

    assert.deepStrictEqual(
      awaited.endWhere(1, ({ w3 }) => w3 === proxy(2).w3),
      [second!]
    )
    assert.deepStrictEqual(awaited.forgetClient(1), [first!])
    assert.deepStrictEqual(awaited.forgetClient(1), [])
    assert.strictEqual(awaited.waiting(2, proxy(1), 0), other)
    assert.strictEqual(awaited.size, 1)
  })

  const Packets = Schema.Array(Schema.Tuple([Schema.Literals([1, 2, 3]), Schema.Literals([1, 2, 3, 4, 5, 6])]))

  it.prop(
    "never costs more rows than there are for it, whoever sends to what; all are free in the end",
    [Packets],
    ([packets]) => {
      const awaited = new AwaitedProxies(limits)
      let now = 0
      for (const [client, n] of packets) {
        now += 400
        awaited.waiting(client, proxy(n), now)
        expired(awaited, now)
        assert.isAtMost(awaited.size, limits.total)
      }
      expired(awaited, now + 2_000)
      expired(awaited, now + 7_000)
      assert.strictEqual(awaited.size, 0)
    }
  )
})
