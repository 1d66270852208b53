import { assert, describe, it } from "@effect/vitest"
import { Silence } from "../../src/nat/silence.ts"

const tcp = 6
const udp = 17
const mapping = 5

const due = (silence: Silence, now: number): ReadonlyArray<number> => {
  const found: Array<number> = []
  for (let m = silence.next(now); m >= 0; m = silence.next(now)) found.push(m)
  return found
}

describe("silence", () => {
  it("is a session without any reply 3 s after its first packet, reported once", () => {
    const silence = new Silence()
    silence.outbound(mapping, tcp, 443, 100, -1, 100)
    assert.deepStrictEqual(due(silence, 3_099), [])
    assert.deepStrictEqual(due(silence, 3_100), [mapping])
    assert.deepStrictEqual(due(silence, 100_000), [])
  })

  it("is broken by any reply of the mapping since, on whatever session and port", () => {
    const silence = new Silence()
    silence.outbound(mapping, tcp, 443, 0, -1, 0)
    assert.isFalse(silence.inbound(mapping, tcp, 80, 2_999))
    assert.deepStrictEqual(due(silence, 10_000), [])
  })

  it("is not broken by a reply before the session's first packet, nor by another mapping's", () => {
    const silence = new Silence()
    silence.inbound(mapping, tcp, 443, 999)
    silence.outbound(mapping, tcp, 443, 1_000, -1, 1_000)
    silence.inbound(6, tcp, 443, 2_000)
    assert.deepStrictEqual(due(silence, 4_000), [mapping])
  })

  it("is not a session's whose first packet came before the mapping's last reply, for 120 s", () => {
    const silence = new Silence()
    silence.outbound(mapping, tcp, 443, 0, -1, 0)
    silence.inbound(mapping, tcp, 80, 1_000)
    silence.outbound(mapping, tcp, 443, 0, -1, 120_999)
    assert.deepStrictEqual(due(silence, 130_000), [])
    silence.outbound(mapping, tcp, 443, 0, -1, 121_000)
    assert.deepStrictEqual(due(silence, 121_999), [])
    assert.deepStrictEqual(due(silence, 122_000), [mapping])
  })

  it("is reported again while the client goes on trying, and not when it stops", () => {
    const silence = new Silence()
    silence.outbound(mapping, tcp, 443, 0, -1, 0)
    assert.deepStrictEqual(due(silence, 3_000), [mapping])
    silence.outbound(mapping, tcp, 443, 0, -1, 7_000)
    assert.deepStrictEqual(due(silence, 9_999), [])
    assert.deepStrictEqual(due(silence, 10_000), [mapping])
    assert.deepStrictEqual(due(silence, 1e6), [])
  })

  it("of a confirmed session is 120 s under outgoing traffic and one more second", () => {
    const silence = new Silence()
    silence.outbound(mapping, tcp, 443, 0, 500, 120_499)
    assert.deepStrictEqual(due(silence, 125_000), [])
    silence.outbound(mapping, tcp, 443, 0, 500, 120_500)
    assert.deepStrictEqual(due(silence, 121_499), [])
    assert.deepStrictEqual(due(silence, 121_500), [mapping])
  })

  it("of a long idle session ends with the answer to its first packet", () => {
    const silence = new Silence()
    silence.outbound(mapping, tcp, 443, 0, 500, 1e6)
    silence.inbound(mapping, tcp, 443, 1e6 + 999)
    assert.deepStrictEqual(due(silence, 1e6 + 1_000), [])
  })

  it("never starts without traffic", () => {
    const silence = new Silence()
    silence.inbound(mapping, tcp, 443, 0)
    assert.deepStrictEqual(due(silence, 1e9), [])
  })

  it("of one-way UDP counts once that port of the mapping has replied", () => {
    const silence = new Silence()
    silence.outbound(mapping, udp, 514, 0, -1, 0)
    assert.deepStrictEqual(due(silence, 10_000), [])
    silence.inbound(mapping, udp, 53, 10_000)
    silence.outbound(mapping, udp, 514, 10_001, -1, 10_001)
    assert.deepStrictEqual(due(silence, 20_000), [])
    silence.outbound(mapping, udp, 53, 20_000, -1, 20_000)
    assert.deepStrictEqual(due(silence, 23_000), [mapping])
  })

  it("remembers a bounded number of UDP ports and forgets the one learned first", () => {
    const silence = new Silence()
    for (let port = 1; port <= 9; port++) silence.inbound(mapping, udp, port, 0)
    silence.outbound(mapping, udp, 1, 10, -1, 10)
    assert.deepStrictEqual(due(silence, 10_000), [])
    silence.outbound(mapping, udp, 2, 10_000, -1, 10_000)
    assert.deepStrictEqual(due(silence, 20_000), [mapping])
  })

  it("once reported, makes the next reply news, and only that one", () => {
    const silence = new Silence()
    silence.outbound(mapping, tcp, 443, 0, -1, 0)
    assert.isFalse(silence.inbound(mapping, tcp, 443, 1))
    silence.outbound(mapping, tcp, 443, 10, -1, 10)
    due(silence, 5_000)
    assert.isTrue(silence.inbound(mapping, tcp, 443, 6_000))
    assert.isFalse(silence.inbound(mapping, tcp, 443, 6_001))
    silence.reported(mapping)
    assert.isTrue(silence.inbound(mapping, tcp, 443, 7_000))
  })

  it("is still news after another wait began", () => {
    const silence = new Silence()
    silence.outbound(mapping, tcp, 443, 0, -1, 0)
    due(silence, 3_000)
    silence.outbound(mapping, tcp, 443, 0, -1, 3_500)
    assert.isTrue(silence.inbound(mapping, tcp, 443, 4_000))
    assert.deepStrictEqual(due(silence, 1e6), [])
  })

  it("of a forgotten mapping is nothing, and its number starts anew", () => {
    const silence = new Silence()
    silence.inbound(mapping, udp, 53, 0)
    silence.outbound(mapping, udp, 53, 1, -1, 1)
    silence.forgetMapping(mapping)
    assert.deepStrictEqual(due(silence, 1e6), [])
    silence.outbound(mapping, udp, 53, 1e6, -1, 1e6)
    assert.deepStrictEqual(due(silence, 2e6), [])
    silence.forgetMapping(1e6)
  })

  it("is told for each mapping in the order of their packets, also when there are thousands", () => {
    const silence = new Silence()
    for (let m = 0; m < 5_000; m++) silence.outbound(m, tcp, 443, m, -1, m)
    for (let m = 0; m < 5_000; m += 2) silence.inbound(m, tcp, 443, 5_000)
    assert.deepStrictEqual(due(silence, 3_005), [1, 3, 5])
    assert.strictEqual(due(silence, 1e5).length, 2_497)
  })
})
