import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { defaultLimits, type Job, LookupQueue } from "../../src/resolution/lookupQueue.ts"

interface Named extends Job {
  readonly id: number
}

let ids = 0
const job = (client: string, over: Partial<Job> = {}): Named => ({
  id: ids++,
  client,
  resolver: "system",
  first: true,
  ...over
})

const fill = (queue: LookupQueue<Named>, jobs: ReadonlyArray<Named>) => jobs.forEach((each) => queue.offer(each))

const many = (n: number, client: (i: number) => string, over: Partial<Job> = {}) =>
  Array.from({ length: n }, (_, i) => job(client(i), over))

/** Takes what the budgets let through; with `end`, every lookup ends at once. */
const drain = (queue: LookupQueue<Named>, now: number, end = true): Array<Named> => {
  const taken: Array<Named> = []
  for (let next = queue.next(now); next !== undefined; next = queue.next(now)) {
    taken.push(next)
    if (end) queue.finish(next, now, false)
  }
  return taken
}

describe("LookupQueue", () => {
  it("lets a client start 100 lookups at once, then 10 a second", () => {
    const queue = new LookupQueue<Named>()
    fill(
      queue,
      many(200, () => "a")
    )
    assert.strictEqual(drain(queue, 0).length, 100)
    assert.strictEqual(queue.stopped("a", "system", 0), "client_rate")
    assert.strictEqual(queue.nextAt(0), 100)
    assert.strictEqual(drain(queue, 99).length, 0)
    assert.strictEqual(drain(queue, 100).length, 1)
    assert.strictEqual(drain(queue, 5_100).length, 50)
  })

  it("gives quick answers' lookups back: a client waits for its resolver only, up to 100 names a second", () => {
    const queue = new LookupQueue<Named>()
    fill(
      queue,
      many(2_000, () => "a")
    )
    const answered = (now: number, tookMs: number): number => {
      const taken = drain(queue, now, false)
      for (const each of taken) queue.finish(each, now + tookMs, true)
      return taken.length
    }
    let started = 0
    for (let now = 0; now < 5_000; now += 10) started += answered(now, 500)
    // Bursts of 100 and 500, and 10 and 100 a second.
    assert.isAtLeast(started, 1_080)
    assert.isAtMost(started, 1_150)
    assert.isAtMost(answered(100_000, 501), 64)
    let slow = 0
    for (let now = 101_000; now < 106_000; now += 10) slow += answered(now, 501)
    assert.isAtMost(slow, 100)
  })

  it("takes what somebody waits for first, but only before jobs of the same client", () => {
    const queue = new LookupQueue<Named>()
    const [a, b, c] = many(3, () => "a") as [Named, Named, Named]
    const other = job("b")
    const refresh = job("a", { first: false })
    fill(queue, [a, b, c, refresh, other])
    const urgent = job("a")
    queue.offer(urgent, true)
    queue.promote(c)
    queue.promote(refresh)
    queue.promote(c)
    assert.strictEqual(queue.queued, 6)
    assert.deepStrictEqual(drain(queue, 0), [urgent, other, c, refresh, a, b])
    queue.promote(job("a"))
    queue.cancel(queue.next(0)!)
    assert.strictEqual(queue.queued, 0)
  })

  it("lets the gateway start 2,000 lookups at once, then 1,000 a second", () => {
    const queue = new LookupQueue<Named>()
    fill(
      queue,
      many(5_000, (i) => `client ${i % 100}`)
    )
    assert.strictEqual(drain(queue, 0).length, 2_000)
    assert.strictEqual(queue.stopped("a new one", "system", 0), "gateway_rate")
    assert.strictEqual(queue.nextAt(0), 1)
    assert.strictEqual(drain(queue, 1_000).length, 1_000)
  })

  it("keeps 64 in flight per client, 250 per resolver set and 1,000 per gateway", () => {
    const queue = new LookupQueue<Named>()
    fill(
      queue,
      many(100, () => "greedy")
    )
    assert.strictEqual(drain(queue, 0, false).length, 64)
    assert.strictEqual(queue.stopped("greedy", "system", 0), "client_in_flight")

    fill(
      queue,
      many(300, (i) => `client ${i}`)
    )
    assert.strictEqual(drain(queue, 0, false).length, 186)
    assert.strictEqual(queue.stopped("new", "system", 0), "resolver_in_flight")

    for (const resolver of ["x", "y", "z", "w"])
      fill(
        queue,
        many(250, (i) => `client ${i}`, { resolver })
      )
    assert.strictEqual(drain(queue, 0, false).length, 750)
    assert.strictEqual(queue.stopped("new", "v", 0), "gateway_in_flight")
    assert.isNull(queue.nextAt(0))
  })

  it("does not let one resolver set that never answers stop the others", () => {
    const queue = new LookupQueue<Named>()
    fill(
      queue,
      many(400, (i) => `client ${i % 20}`, { resolver: "dead" })
    )
    assert.isAbove(drain(queue, 0, false).length, 230)
    fill(queue, [job("client 0", { resolver: "alive" })])
    assert.strictEqual(drain(queue, 0, false)[0]?.resolver, "alive")
  })

  it.each([
    ["one set", 1, 4],
    ["one set", 1, 16],
    ["one set", 1, 120],
    ["five sets", 5, 4],
    ["five sets", 5, 16],
    ["five sets", 5, 128]
  ] as const)(
    "has a place for the next client when names at %s hang (%i) of as many clients (%i)",
    (_, sets, clients) => {
      const queue = new LookupQueue<Named>()
      for (let n = 0; n < sets; n++)
        fill(
          queue,
          many(100 * clients, (i) => `client ${i % clients}`, { resolver: `dead ${n}` })
        )
      for (let second = 0; second < 20; second++) drain(queue, second * 1_000, false)
      for (const resolver of ["dead 0", "alive"]) {
        assert.isNull(queue.stopped("innocent", resolver, 20_000))
        const asked = job("innocent", { resolver })
        fill(queue, [asked])
        assert.deepStrictEqual(drain(queue, 20_000, false), [asked])
      }
    }
  )

  it.each([
    ["one set", 1],
    ["four sets", 4]
  ] as const)(
    "has a place for a client whose names do not hang as soon as it is known whose do, however many these are, at %s (%i)",
    (_, sets) => {
      const queue = new LookupQueue<Named>()
      const running: Array<readonly [number, Named]> = []
      const hang = (now: number) => {
        while (running.length > 0 && now - running[0]![0] >= 10_000) queue.finish(running.shift()![1], now, false)
        for (const taken of drain(queue, now, false)) running.push([now, taken])
      }
      for (let n = 0; n < sets; n++)
        fill(
          queue,
          many(5_000, (i) => `client ${i % 500}`, { resolver: `set ${n}` })
        )
      const waited = Array.from({ length: 60 }, (_, second) => {
        hang(second * 1_000)
        return queue.stopped("innocent", "set 0", second * 1_000)
      })
      assert.isNotNull(waited[1])
      // Two rounds: not all of the 500 had a place in the first one.
      assert.deepStrictEqual(new Set(waited.slice(20)), new Set([null]))
    }
  )

  it("gives all places to clients whose names hung once, ten minutes later", () => {
    const queue = new LookupQueue<Named>()
    const ask = () =>
      fill(
        queue,
        many(250, (i) => `client ${i}`)
      )
    ask()
    const hanging = drain(queue, 0, false)
    assert.lengthOf(hanging, 250)
    for (const each of hanging) queue.finish(each, 2_000, false)
    ask()
    assert.lengthOf(drain(queue, 2_000, false), 200)
    assert.lengthOf(drain(queue, 601_999, false), 0)
    assert.lengthOf(drain(queue, 602_000, false), 50)
  })

  it("knows them for that long however many clients come meanwhile", () => {
    const queue = new LookupQueue<Named>()
    const ask = (now: number) => {
      fill(
        queue,
        many(250, (i) => `client ${i}`)
      )
      return drain(queue, now, false)
    }
    for (const each of ask(0)) queue.finish(each, 2_000, false)
    fill(
      queue,
      many(2_000, (i) => `other ${i}`)
    )
    drain(queue, 60_000)
    assert.lengthOf(ask(120_000), 200)
  })

  it("takes first lookups before refreshes, and clients in turns", () => {
    const queue = new LookupQueue<Named>()
    const refresh = job("a", { first: false })
    const firsts = [job("a"), job("a"), job("b")]
    fill(queue, [refresh, ...firsts])
    assert.deepStrictEqual(drain(queue, 0), [firsts[0], firsts[2], firsts[1], refresh])
  })

  it("takes a refresh after four first lookups, however many of them come", () => {
    const queue = new LookupQueue<Named>()
    const refreshes = many(3, () => "innocent", { first: false })
    fill(queue, [...refreshes, ...many(2_000, (i) => `client ${i % 200}`)])
    const taken = drain(queue, 0)
    assert.deepStrictEqual(
      refreshes.map((refresh) => taken.indexOf(refresh)),
      [4, 9, 14]
    )
  })

  it("looks at nobody else who waits because one refresh may not go on: not at 200 million of them", () => {
    const queue = new LookupQueue<Named>()
    queue.offer(job("hung"))
    queue.finish(queue.next(0)!, 10_000, false)
    fill(
      queue,
      many(100_000, (i) => `c${i}`)
    )
    const running = Array.from({ length: 201 }, () => queue.next(10_000)!)
    queue.offer(job("hung", { first: false }))
    const before = process.threadCpuUsage()
    for (let now = 10_000; now < 12_000; now++) {
      queue.finish(running.shift()!, now, false)
      running.push(queue.next(now)!)
    }
    const { user } = process.threadCpuUsage(before)
    assert.strictEqual(queue.stopped("hung", "system", 12_000), "resolver_in_flight")
    assert.isBelow(user / 1_000, 400)
  })

  it("forgets a cancelled job", () => {
    const queue = new LookupQueue<Named>()
    const [a, b] = [job("a"), job("a")]
    fill(queue, [a, b])
    queue.cancel(a)
    queue.cancel(a)
    assert.deepStrictEqual(drain(queue, 0), [b])
    queue.cancel(b)
    assert.strictEqual(queue.queued, 0)
  })

  it("does not give a client its burst again for coming back, however many clients there are", () => {
    const queue = new LookupQueue<Named>()
    fill(
      queue,
      many(100, () => "a")
    )
    drain(queue, 0)
    for (let i = 0; i < 1_900; i++) fill(queue, [job(`client ${i}`)])
    drain(queue, 1_000)
    fill(
      queue,
      many(50, () => "a")
    )
    assert.strictEqual(drain(queue, 1_000).length, 10)
  })

  const step = Schema.Union([
    Schema.TaggedStruct("Offer", {
      client: Schema.Literals(["a", "b", "c"]),
      resolver: Schema.Literals(["r", "s"]),
      first: Schema.Boolean,
      n: Schema.Literals([1, 2, 3, 7])
    }),
    Schema.TaggedStruct("Finish", {}),
    Schema.TaggedStruct("Wait", { ms: Schema.Literals([1, 99, 100, 101, 999, 1_000]) })
  ])
  const limits = {
    ...defaultLimits,
    gatewayRate: 20,
    gatewayBurst: 6,
    clientBurst: 4,
    inFlight: 9,
    inFlightPerResolver: 5,
    inFlightPerClient: 4
  }

  it.prop(
    "never exceeds a budget, loses nothing, and wakes up by itself",
    [Schema.Array(step).check(Schema.isMaxLength(40))],
    ([steps]) => {
      const queue = new LookupQueue<Named>(limits)
      const running: Array<Named> = []
      const starts: Array<readonly [number, string]> = []
      let offered = 0
      let now = 0
      const pump = () => {
        for (const taken of drain(queue, now, false)) {
          running.push(taken)
          starts.push([now, taken.client])
        }
        const perResolver = (r: string) => running.filter((j) => j.resolver === r).length
        const perClient = (c: string) => running.filter((j) => j.client === c).length
        assert.isAtMost(running.length, limits.inFlight)
        for (const r of ["r", "s"]) assert.isAtMost(perResolver(r), limits.inFlightPerResolver)
        for (const c of ["a", "b", "c"]) assert.isAtMost(perClient(c), limits.inFlightPerClient)
        for (const [from] of starts) {
          const span = now - from
          const since = starts.filter(([t]) => t >= from)
          assert.isAtMost(since.length, limits.gatewayBurst + (limits.gatewayRate * span) / 1_000)
          const a = since.filter(([, c]) => c === "a").length
          assert.isAtMost(a, limits.clientBurst + (limits.clientRate * span) / 1_000)
        }
      }
      for (const each of steps) {
        if (each._tag === "Wait") now += each.ms
        if (each._tag === "Finish" && running.length > 0) queue.finish(running.shift()!, now, false)
        if (each._tag === "Offer") {
          fill(
            queue,
            Array.from({ length: each.n }, () => job(each.client, each))
          )
          offered += each.n
        }
        pump()
      }
      // Only waiting for the times that the queue itself names, everything is started in the end.
      for (let i = 0; queue.queued > 0 && i < 2_000; i++) {
        while (running.length > 0) queue.finish(running.shift()!, now, false)
        now = queue.nextAt(now) ?? now
        pump()
      }
      assert.strictEqual(queue.queued, 0)
      assert.strictEqual(starts.length, offered)
    },
    { arbitrary: { runs: 200, seed: 5 } }
  )
})
