import { assert, describe, it } from "@effect/vitest"
import { chooseAddress, several, targetDiffers } from "../../src/nat/addressChoice.ts"
import { ReplyEvidence } from "../../src/nat/replyEvidence.ts"
import { spreadBy, spreadOf } from "../../src/nat/spread.ts"
import { MappingState, Translations } from "../../src/nat/translations.ts"
import { formatAddress, type Words, words } from "../../src/packet/address.ts"
import { integer } from "../support/packetArbitraries.ts"
import { addressWords as address } from "../support/packets.ts"

const proxies = ["100.96.0.1", "100.96.0.2", "100.96.0.3", "100.96.0.4", "fd00:2021:1111:8000::1"]
const A = address("10.0.0.1")
const B = address("10.0.0.2")
const client = 1
const mapping = 5

/** Takes the addresses of the tests as they are given. */
const inOrder = Array.from({ length: 1_000 }, (_, spread) => spread).find((spread) => {
  const given = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"].map(address)
  return spreadBy(spread, given).every((each, i) => each === given[i])
})!

/** A mapping with the given IPv4 addresses at a client, and short ways to use it. */
const scene = (addresses: ReadonlyArray<string> = ["10.0.0.1", "10.0.0.2"]) => {
  const translations = new Translations()
  const evidence = new ReplyEvidence()
  for (const [m, c] of [
    [mapping, client],
    [6, 2]
  ] as const) {
    translations.place(m, c, [0], proxies.map(address), 1, inOrder)
    translations.setAddresses(m, 1, MappingState.Resolved, addresses.map(address), [], 0)
  }
  const choose = (proxy: number, now: number, m = mapping, port = 443): string => {
    const to = words()
    return chooseAddress(translations, evidence, m, address(proxies[proxy]!), port, now, to)
      ? formatAddress(to)
      : "none"
  }
  /** Chooses and opens a session, as the engine does. */
  const open = (proxy: number, now: number): string => {
    const chosen = choose(proxy, now)
    evidence.started(client, mapping, 443, address(chosen), now)
    return chosen
  }
  const replied = (real: Words, now: number) => evidence.replied(client, mapping, 443, real, now)
  return { translations, evidence, choose, open, replied }
}

describe("the real address of a new session", () => {
  it("goes round the addresses with the proxies, the same way every time", () => {
    const { choose } = scene(["10.0.0.1", "10.0.0.2", "10.0.0.3"])
    for (const now of [0, 1e6]) {
      assert.deepStrictEqual(
        [0, 1, 2, 3].map((p) => choose(p, now)),
        ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.1"]
      )
    }
  })

  it("is spread by client and name: evenly, and moves for those only whose address goes", () => {
    const addresses = Array.from({ length: 5 }, (_, i) => address(`10.0.0.${i + 1}`))
    const ids = Array.from({ length: 5_000 }, (_, n) => `client-${n % 50}/n${n}.corp`)
    const firstOf = (id: string, among = addresses) => spreadBy(spreadOf(id.split("/", 1)[0]!, id), among)[0]!
    for (const each of addresses) {
      const share = ids.filter((id) => firstOf(id) === each).length
      assert.isAtLeast(share, 900)
      assert.isAtMost(share, 1_100)
    }
    for (const id of ids.slice(0, 50)) assert.strictEqual(firstOf(id.replace("/", "/its-resource/")), firstOf(id))
    const left = addresses.filter((each) => each !== addresses[2])
    for (const id of ids) {
      assert.strictEqual(firstOf(id, addresses.toReversed()), firstOf(id))
      if (firstOf(id) !== addresses[2]) assert.strictEqual(firstOf(id, left), firstOf(id))
    }
    // Of a name with many addresses all are used, by some.
    const many = Array.from({ length: 100 }, (_, i) => address(`10.0.1.${i}`))
    assert.strictEqual(new Set(ids.map((id) => firstOf(id, many))).size, 100)
  })

  it("is of the proxy's family, and none when the name has none there", () => {
    const { translations, choose } = scene()
    assert.strictEqual(choose(4, 0), "none")
    translations.setAddresses(mapping, 2, MappingState.Resolved, [], [address("fd99::1")], 0)
    assert.strictEqual(choose(4, 0), "fd99::1")
    assert.strictEqual(choose(0, 0), "none")
  })

  it("knows when a session's address is no longer the name's", () => {
    const { translations } = scene()
    assert.isFalse(targetDiffers(translations, mapping, A))
    assert.isTrue(targetDiffers(translations, mapping, address("10.0.0.3")))
    assert.isTrue(several(translations, mapping, A))
    translations.setAddresses(mapping, 2, MappingState.Resolved, [B], [], 0)
    assert.isTrue(targetDiffers(translations, mapping, A))
    assert.isFalse(several(translations, mapping, B))
  })
})

describe("reply evidence", () => {
  it("moves new sessions from an address silent for 3 s to a sibling that answers", () => {
    const { open, choose, replied } = scene()
    assert.strictEqual(open(0, 0), "10.0.0.1")
    assert.strictEqual(open(1, 100), "10.0.0.2")
    replied(B, 150)
    assert.strictEqual(choose(0, 2_999), "10.0.0.1")
    assert.strictEqual(choose(0, 3_000), "10.0.0.2")
  })

  it("moves nothing while no sibling answers: the last address stays", () => {
    const { open, choose } = scene()
    open(0, 0)
    open(1, 0)
    assert.strictEqual(choose(0, 10_000), "10.0.0.1")
    assert.strictEqual(choose(1, 10_000), "10.0.0.2")
  })

  it("moves nothing to a sibling of which nothing is known", () => {
    const { open, choose } = scene()
    open(0, 0)
    assert.strictEqual(choose(0, 3_000), "10.0.0.1")
  })

  it("of one mapping says nothing about another that has the same addresses", () => {
    const { open, evidence, replied } = scene()
    open(0, 0)
    open(1, 0)
    replied(B, 10)
    assert.strictEqual(evidence.choose(client, mapping, 443, [A, B], 0, 3_000), 1)
    for (let m = 100; m < 1_000; m++) assert.strictEqual(evidence.choose(client, m, 443, [A, B], 0, 3_000), 0)
  })

  it("that is in use stays when the client has more than is kept", () => {
    const { open, choose, replied, evidence } = scene()
    open(0, 0)
    open(1, 0)
    replied(B, 10)
    assert.strictEqual(choose(0, 3_000), "10.0.0.2")
    for (let n = 0; n < 2_000; n++) {
      evidence.started(client, 100 + n, 443, A, 3_000 + n / 4)
      evidence.started(client, mapping, 443, A, 3_000 + n / 4)
      replied(B, 3_000 + n / 4)
    }
    assert.strictEqual(choose(0, 3_600), "10.0.0.2")
  })

  it("retries a silent address with one session after 1 s, then 2 s, doubling to 60 s", () => {
    const { open, choose, replied } = scene()
    open(0, 0)
    open(1, 0)
    let now = 3_000
    replied(B, now)
    assert.strictEqual(choose(0, now), "10.0.0.2")
    for (const backoff of [1, 2, 4, 8, 16, 32, 60, 60]) {
      replied(B, now + backoff * 1_000 - 1)
      assert.strictEqual(choose(0, now + backoff * 1_000 - 1), "10.0.0.2")
      now += backoff * 1_000
      assert.strictEqual(open(0, now), "10.0.0.1")
      assert.strictEqual(choose(0, now), "10.0.0.2")
    }
  })

  it("takes an address back for good when it replies", () => {
    const { open, choose, replied } = scene()
    open(0, 0)
    open(1, 0)
    replied(B, 10)
    assert.strictEqual(choose(0, 3_000), "10.0.0.2")
    replied(A, 3_100)
    for (const now of [3_100, 3_200, 10_000]) assert.strictEqual(choose(0, now), "10.0.0.1")
  })

  it("gives a silent address its turn at any proxy when its sibling goes silent as well", () => {
    const { open, choose, replied } = scene()
    open(0, 0)
    open(1, 0)
    replied(B, 10)
    assert.strictEqual(choose(0, 3_000), "10.0.0.2")
    open(1, 3_500)
    assert.strictEqual(open(1, 6_500), "10.0.0.1")
    replied(A, 6_600)
    assert.strictEqual(choose(1, 6_700), "10.0.0.1")
  })

  it("does not hold an unanswered packet of long ago against an address", () => {
    const { open, choose, replied } = scene()
    open(0, 0)
    open(1, 0)
    replied(B, 69_000)
    assert.strictEqual(open(0, 70_000), "10.0.0.1")
    assert.strictEqual(choose(0, 73_000), "10.0.0.2")
  })

  it("is kept per port, per mapping and per client", () => {
    const { open, choose, replied } = scene()
    open(0, 0)
    open(1, 0)
    replied(B, 10)
    assert.strictEqual(choose(0, 3_000), "10.0.0.2")
    assert.strictEqual(choose(0, 3_000, mapping, 80), "10.0.0.1")
    assert.strictEqual(choose(0, 3_000, 6), "10.0.0.1")
  })

  it("is gone with its mapping or its client", () => {
    for (const what of ["mapping", "client"] as const) {
      const { open, choose, replied, evidence } = scene()
      open(0, 0)
      open(1, 0)
      replied(B, 10)
      assert.strictEqual(choose(0, 3_000), "10.0.0.2")
      if (what === "mapping") evidence.forgetMapping(mapping)
      else evidence.forgetClient(client)
      assert.strictEqual(choose(0, 3_000), "10.0.0.1")
    }
  })

  it("of one client survives whatever another client does", () => {
    const { open, choose, replied, evidence } = scene()
    open(0, 0)
    open(1, 0)
    replied(B, 10)
    assert.strictEqual(choose(0, 3_000), "10.0.0.2")
    for (let n = 0; n < 10_000; n++) evidence.started(2, n, n & 0xffff, words(0, 0, 0xffff, n), n)
    assert.strictEqual(choose(0, 3_001), "10.0.0.2")
  })

  it.prop(
    "never passes over an address that has just replied, whatever went before",
    [integer(2, 4), integer(0, 0x7fffffff)],
    ([count, seed]) => {
      const addresses = Array.from({ length: count }, (_, i) => `10.0.0.${i + 1}`)
      const { choose, open, replied } = scene(addresses)
      let state = seed
      const draw = (below: number) => {
        state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff
        return (state >>> 8) % below
      }
      let now = 0
      for (let n = 0; n < 200; n++) {
        now += [0, 1, 999, 1_000, 2_999, 3_000, 59_999, 60_000][draw(8)]!
        const i = draw(count)
        if (draw(3) > 0) {
          assert.include(addresses, open(i, now))
        } else {
          replied(address(addresses[i]!), now)
          assert.strictEqual(choose(i, now), addresses[i])
        }
      }
    }
  )
})
