/** A relay that falls silent in mid-transfer: who notices, how fast, and what stays. */
import { assert, describe, it } from "@effect/vitest"
import { formatAddress } from "../../src/packet/address.ts"
import { addressWords } from "../support/packets.ts"
import { clientAddress, healsIn, type Host, IcePair, isAt, passes, there } from "../support/iceWorld.ts"

const outside = "198.51.100.77"
const direct: IcePair["world"]["drops"] = ({ from, to }) => from.port === 52_625 && to.port === 52_625

/** Only relays connect them: both know both, the gateway has the first and the client the one with that number. */
const relayed = (ofClient: 0 | 1, prepare: (pair: IcePair) => void = () => {}) => {
  const pair = new IcePair()
  pair.world.drops = direct
  prepare(pair)
  const relays = [1, 2].map((n) => pair.addRelay(`r${n}`, `203.0.113.${n}`, `198.51.100.${n}`))
  const first = relays[0]!.server
  pair.gateway.send({ _tag: "SetRelays", relays: [relays[0]!.relay] })
  pair.client.send({ _tag: "SetRelays", relays: [relays[ofClient]!.relay] })
  pair.introduce()
  pair.world.run(1_000)
  pair.relays(...relays.map(({ relay }) => relay))
  // In the middle of nothing: a few seconds of a transfer.
  for (let i = 0; i < 37; i++) {
    assert.isTrue(passes(pair))
    pair.world.run(100)
  }
  assert.strictEqual(pair.gateway.state?.path, "relayed")
  return { pair, first }
}

const isUsing = (host: Host, relayedAt: string): boolean =>
  host.notices.some((n) => n._tag === "CandidateFound" && n.candidate.includes(` ${relayedAt} `))

const assertKept = (pair: IcePair) => {
  assert.deepStrictEqual([...pair.gateway.told("ConnectionLost"), ...pair.client.told("ConnectionLost")], [])
  assert.strictEqual(pair.gateway.count("wireguard.handshake_answered"), 1)
  assert.strictEqual(pair.gateway.count("sessions.created"), 1)
}

describe("a relay that is black-holed in mid-transfer", () => {
  for (const [whose, ofClient] of [
    ["both sides use", 0],
    ["the gateway uses", 1]
  ] as const) {
    it(`and that ${whose} is left for the other one: packets pass within 8 s, in the same session`, () => {
      const { first, pair } = relayed(ofClient)
      first.silent = true
      assert.isAtMost(healsIn(pair, 60_000), 8_000)
      assertKept(pair)
      assert.isTrue(isUsing(pair.gateway, "198.51.100.2"))
      assert.deepStrictEqual(
        pair.gateway.told("RelayLost").map(({ reason, left }) => ({ reason, left })),
        [{ reason: "Unreachable", left: 1 }]
      )
      for (let second = 0; second < 60; second++) {
        assert.isTrue(passes(pair))
        pair.world.run(1_000)
      }
      assertKept(pair)
    })
  }

  it("while the client only sends is left within 8 s as well", () => {
    const { first, pair } = relayed(1)
    first.silent = true
    let healed = 0
    for (; healed < 60_000; healed += 100) {
      const before = pair.gateway.received.length
      pair.client.route(there())
      pair.world.run(100)
      if (pair.gateway.received.length > before) break
    }
    assert.isAtMost(healed, 8_000)
    assertKept(pair)
  })

  it("is left within 8 s without the portal, where the client has an address that anybody reaches", () => {
    const { first, pair } = relayed(1, ({ world }) => {
      const isClient = isAt(clientAddress)
      world.outside = (from, to) =>
        isClient({ from, to, bytes: there() }) ? { ...from, address: addressWords(outside) } : from
      world.inside = (to) =>
        formatAddress(to.address) === outside ? { ...to, address: addressWords(clientAddress) } : to
    })
    pair.passes = false
    first.silent = true
    assert.isAtMost(healsIn(pair, 60_000), 8_000)
    assertKept(pair)
  })
})
