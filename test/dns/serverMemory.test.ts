import { assert, describe, it } from "@effect/vitest"
import { type ProbeAim, ServerMemory } from "../../src/dns/serverMemory.ts"

const keys = ["a", "b", "c"]
const minute = 60_000

const answered = (latencyMs: number) => ({ latencyMs, via: "datagram", withEdns: true }) as const

/** The names in the order in which they are asked. */
const ordered = (memory: ServerMemory, order: "fallback" | "fastest", first = 0): string =>
  memory
    .order(keys, order, first)
    .map((i) => keys[i])
    .join("")

describe("the order in which the servers of a set are asked", () => {
  it("is the list's while nothing is known, and with fallback as long as they live", () => {
    const memory = new ServerMemory()
    assert.strictEqual(ordered(memory, "fallback"), "abc")
    assert.strictEqual(ordered(memory, "fastest"), "abc")
    memory.answered("c", answered(1), 0)
    assert.strictEqual(ordered(memory, "fallback"), "abc")
  })

  it("with fastest is by latency, unmeasured ones behind", () => {
    const memory = new ServerMemory()
    memory.answered("b", answered(30), 0)
    memory.answered("c", answered(2), 0)
    assert.strictEqual(ordered(memory, "fastest"), "cba")
  })

  it("puts silent ones last, and first again as soon as they answer", () => {
    const memory = new ServerMemory()
    memory.silent("a", 0, 1_000)
    assert.strictEqual(ordered(memory, "fallback"), "bca")
    assert.strictEqual(ordered(memory, "fastest"), "bca")
    memory.answered("a", answered(5), 2_000)
    assert.strictEqual(ordered(memory, "fallback"), "abc")
  })

  it("begins where it is told to, among the living", () => {
    const memory = new ServerMemory()
    assert.deepStrictEqual(
      [0, 1, 2].map((first) => ordered(memory, "fallback", first)),
      ["abc", "bca", "cab"]
    )
    memory.silent("b", 0, 0)
    assert.strictEqual(ordered(memory, "fallback", 1), "cab")
  })
})

describe("a server", () => {
  it("that is silent has a time for each that may ask it again, 50 ms apart, until the last that is of use", () => {
    const memory = new ServerMemory()
    memory.silent("a", 0, 1_000)
    const times = [1_100, 1_100, 1_100, 1_100, 1_149, 1_150].map((latest) => memory.reserve("a", 1_000, latest))
    assert.deepStrictEqual(times, [1_000, 1_050, 1_100, null, null, 1_150])
    assert.deepStrictEqual(
      [1_199, 1_300, 1_300].map((now) => memory.reserve("a", now, 9_999)),
      [1_200, 1_300, 1_350]
    )
  })

  it("that has answered may be asked as often as one likes", () => {
    const memory = new ServerMemory()
    memory.silent("a", 0, 1_000)
    assert.strictEqual(memory.reserve("a", 1_000, 9_999), 1_000)
    memory.answered("a", answered(5), 1_010)
    assert.deepStrictEqual(
      [1_010, 1_010].map((now) => memory.reserve("a", now, 9_999)),
      [1_010, 1_010]
    )
  })

  it("that answered another question meanwhile is not silent", () => {
    const memory = new ServerMemory()
    memory.answered("a", answered(5), 100)
    memory.silent("a", 50, 1_000)
    assert.isNull(memory.of("a").silentSince)
    memory.silent("a", 150, 1_200)
    assert.strictEqual(memory.of("a").silentSince, 1_200)
  })

  it("has a smoothed latency, which follows a change within a few answers", () => {
    const memory = new ServerMemory()
    memory.answered("a", answered(8), 0)
    memory.answered("a", answered(800), 1)
    assert.strictEqual(memory.of("a").latencyMs, 107)
    for (let i = 0; i < 30; i++) memory.answered("a", answered(800), i)
    assert.isAbove(memory.of("a").latencyMs!, 780)
  })

  it("is held to answer over TCP only when it let datagrams die meanwhile; a datagram proves the contrary", () => {
    const memory = new ServerMemory()
    memory.answered("a", answered(5), 100)
    memory.failsDatagrams("a", 50, 200)
    assert.isNull(memory.of("a").tcpOnlySince)
    memory.failsDatagrams("a", 150, 300)
    assert.strictEqual(memory.of("a").tcpOnlySince, 300)
    memory.answered("a", answered(5), 400)
    assert.isNull(memory.of("a").tcpOnlySince)
  })

  it("that does without EDNS does so until an answer with EDNS", () => {
    const memory = new ServerMemory()
    memory.failsEdns("a", 5)
    memory.answered("a", { ...answered(1), withEdns: false }, 10)
    assert.strictEqual(memory.of("a").noEdnsSince, 5)
    memory.answered("a", answered(1), 20)
    assert.deepInclude(memory.of("a"), { noEdnsSince: null, ednsWorks: true })
  })

  it("is listed with what is odd about it", () => {
    const memory = new ServerMemory()
    memory.answered("plain", answered(5), 10)
    memory.failsEdns("odd", 20)
    memory.failsDatagrams("odd", 0, 20)
    memory.changesCase("odd", 20)
    memory.silent("dead", 0, 30)
    memory.failsTcp("dead", 30)
    const nothing = { answeredAt: null, silentSince: null, latencyMs: null, oddities: [] }
    assert.deepStrictEqual(memory.list(40), [
      { ...nothing, server: "plain", answeredAt: 10, latencyMs: 5 },
      { ...nothing, server: "odd", oddities: ["no EDNS", "TCP only", "changes case"] },
      { ...nothing, server: "dead", silentSince: 30, oddities: ["no TCP"] }
    ])
    // Case and TCP are simply tried again.
    assert.deepStrictEqual(
      memory.list(16 * minute).map(({ oddities }) => oddities),
      [[], ["no EDNS", "TCP only"], []]
    )
  })

  it("is forgotten after 255 others, that which was not used for longest first", () => {
    const memory = new ServerMemory()
    memory.answered("first", answered(1), 0)
    memory.answered("second", answered(1), 0)
    for (let i = 0; i < 254; i++) memory.answered(`${i}`, answered(1), i)
    memory.answered("first", answered(1), 300)
    memory.answered("one more", answered(1), 301)
    assert.strictEqual(memory.size, 256)
    assert.deepStrictEqual([memory.of("first").answeredAt, memory.of("second").answeredAt], [300, null])
  })
})

describe("probes", () => {
  /** When probes start in the given time, asked each 100 ms, each of which takes 50 ms and brings nothing. */
  const starts = (memory: ServerMemory, from: number, to: number, order: "fallback" | "fastest" = "fallback") => {
    const found: Array<readonly [number, ProbeAim]> = []
    for (let now = from; now < to; now += 100) {
      const aim = memory.startProbe("a", order, now)
      if (aim === null) continue
      found.push([now, aim])
      assert.isNull(memory.startProbe("a", order, now), "one at a time")
      memory.probed("a", now + 50)
    }
    return found
  }

  it("of a silent server come at once, then ever more seldom, at least each 15 s", () => {
    const memory = new ServerMemory()
    memory.silent("a", 0, 1_000)
    const times = starts(memory, 1_000, 3 * minute).map(([time]) => time)
    assert.deepStrictEqual(times.slice(0, 5), [1_000, 2_100, 4_200, 8_300, 16_400])
    const gaps = times.slice(5).map((time, i) => time - times[i + 4]!)
    assert.isTrue(gaps.every((gap) => gap >= 15_000 && gap <= 15_200))
  })

  it("of living servers are none with fallback; with fastest they measure each half minute those not asked", () => {
    const memory = new ServerMemory()
    memory.answered("a", answered(5), 0)
    assert.deepStrictEqual(starts(memory, 0, 5 * minute), [])
    const measured = new ServerMemory()
    assert.deepStrictEqual(starts(measured, 0, 100, "fastest"), [[0, "Life"]])
    measured.answered("a", answered(5), 50)
    assert.deepStrictEqual(starts(measured, 100, 40_000, "fastest")[0], [30_100, "Life"])
  })

  it("look at once whether EDNS is the reason, and a quarter of an hour later whether it still is", () => {
    const memory = new ServerMemory()
    memory.answered("a", answered(5), 0)
    memory.failsEdns("a", 1_000)
    const found = starts(memory, 1_000, 31 * minute)
    assert.deepStrictEqual(
      found.map(([time, aim]) => [Math.round(time / minute), aim]),
      [
        [0, "Datagrams"],
        [15, "Datagrams"],
        [30, "Datagrams"]
      ]
    )
  })

  it("look for datagrams of a server that is asked over TCP after a quarter of an hour", () => {
    const memory = new ServerMemory()
    memory.failsDatagrams("a", 0, 0)
    assert.deepStrictEqual(starts(memory, 0, 16 * minute), [[15 * minute, "Datagrams"]])
  })
})
