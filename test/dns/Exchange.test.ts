/** When one question of several asks again. Times are milliseconds. */
import { assert, describe, it } from "@effect/vitest"
import { Exchange } from "../../src/dns/Exchange.ts"
import { ServerMemory } from "../../src/dns/serverMemory.ts"
import { formatServer, type ResolverServer } from "../../src/model/ResolverSet.ts"

const server: ResolverServer = { transport: "udp", address: "192.0.2.53", port: 53 }
const second: ResolverServer = { ...server, address: "192.0.2.54" }
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

/**
 * What is asked of silent servers, by so many questions of the same moment, and how often each is looked at.
 *
 * @param backAt when the first server has answered something else
 */
const ask = (questions: number, resendMs: number, withinMs: number, servers = [server], backAt = Infinity) => {
  const memory = new ServerMemory()
  for (const each of servers) memory.silent(formatServer(each), 0, 0)
  const plan = {
    servers,
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
    asked: new Array<ResolverServer>(),
    edns: new Array<boolean>(),
    streams: 0,
    turns: 0,
    until: 0
  }))
  for (let now = 0; now < withinMs; now = Math.min(...all.map(({ until }) => until))) {
    if (now >= backAt) memory.answered(formatServer(server), { latencyMs: 5, via: "datagram", withEdns: true }, now)
    for (const each of all) {
      if (each.until > now) continue
      each.turns++
      const step = each.exchange.turn(now)
      for (const { edns, peer, via } of each.exchange.takeAsks()) {
        if (via === "stream") each.streams++
        else {
          each.askedAt.push(now)
          each.asked.push(peer.server)
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

  it("ask each of two silent servers no more often, whichever they turn to", () => {
    const all = ask(300, 1_000, 10_000, [server, second])
    for (const of of [server, second]) {
      const again = all
        .flatMap(({ asked, askedAt }) => askedAt.filter((_, i) => asked[i] === of).slice(1))
        .toSorted((a, b) => a - b)
      assert.isTrue(again.every((at, i) => i === 0 || at - again[i - 1]! >= 50))
      assert.isAtLeast(again.length, 100)
    }
  })

  it("wait for no silent server's time while another one lives", () => {
    const all = ask(300, 1_000, 10_000, [server, second], 0)
    assert.isTrue(all.every(({ askedAt }) => askedAt.slice(1).every((at, i) => at - askedAt[i]! <= 1_000)))
  })

  it("that have long to wait for their time ask within a second once it has answered another", () => {
    const all = ask(100, 5_000, 6_000, [server], 2_000)
    assert.isTrue(all.every(({ askedAt }) => askedAt[1]! <= 3_000))
  })
})
