/** When one question of several asks again. Times are milliseconds. */
import { assert, describe, it } from "@effect/vitest"
import { Exchange } from "../../src/dns/Exchange.ts"
import { ServerMemory } from "../../src/dns/serverMemory.ts"
import { formatServer, type ResolverServer } from "../../src/model/ResolverSet.ts"

const server: ResolverServer = { transport: "udp", address: "192.0.2.53", port: 53 }
const counters = {
  queries: 0,
  resends: 0,
  tcp_queries: 0,
  answers: 0,
  timeouts: 0,
  ignored: 0,
  without_edns: 0,
  case_changed: 0,
  truncated_used: 0
}

/** What is asked of a silent server, by so many questions of the same moment, and how often each is looked at. */
const ask = (questions: number, resendMs: number, withinMs: number) => {
  const memory = new ServerMemory()
  memory.silent(formatServer(server), 0, 0)
  const plan = {
    servers: [server],
    order: "fallback",
    first: 0,
    resendMs,
    attempts: Infinity,
    noAaaa: false,
    note: null
  } as const
  const all = Array.from({ length: questions }, () => ({
    exchange: new Exchange({ memory, counters: { ...counters }, plan, probe: null, withinMs, tcpMs: 5_000 }, 0),
    askedAt: new Array<number>(),
    edns: new Array<boolean>(),
    streams: 0,
    turns: 0,
    until: 0
  }))
  for (let now = 0; now < withinMs; now = Math.min(...all.map(({ until }) => until))) {
    for (const each of all) {
      if (each.until > now) continue
      each.turns++
      const step = each.exchange.turn(now)
      for (const { edns, via } of each.exchange.takeAsks()) {
        if (via === "stream") each.streams++
        else {
          each.askedAt.push(now)
          each.edns.push(edns)
        }
      }
      each.until = step._tag === "Wait" ? step.until : Infinity
    }
  }
  return all
}

describe("questions of the same moment to a silent server", () => {
  it("are asked again at the plan's pace, 50 ms apart, so that each tries every way", () => {
    const [a, aaaa] = ask(2, 5_000, 16_000)
    assert.deepStrictEqual(a!.askedAt, [0, 300, 5_300, 10_300, 15_300])
    assert.deepStrictEqual(aaaa!.askedAt, [0, 350, 5_350, 10_350, 15_350])
    assert.deepStrictEqual(
      [a!, aaaa!].map(({ edns, streams }) => ({ edns, streams })),
      Array.from({ length: 2 }, () => ({ edns: [true, false, true, true, true], streams: 1 }))
    )
  })

  it("ask 20 times a second in all, however many they are, and none is looked at more than twice a second", () => {
    const all = ask(300, 1_000, 10_000)
    const again = all.flatMap(({ askedAt }) => askedAt.slice(1)).toSorted((a, b) => a - b)
    assert.isTrue(again.every((at, i) => i === 0 || at - again[i - 1]! >= 50))
    assert.isAtLeast(again.length, 170)
    assert.isTrue(all.every(({ turns }) => turns <= 20))
    assert.isTrue(all.some(({ streams }) => streams > 0))
  })
})
