import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { slotCapacity } from "../../src/control/standalone/proxyPool.ts"
import { defaultRanges } from "../../src/model/defaultRanges.ts"
import { parseNetwork } from "../../src/packet/address.ts"
import { maxGateways, type SlotSpan, slotZones } from "../../src/shared/slotZones.ts"

const zonesOf = (proxy4: string, proxy6 = defaultRanges.proxy6) =>
  slotZones(slotCapacity({ proxy4: parseNetwork(proxy4)!, proxy6: parseNetwork(proxy6)! }))

describe("the zones of a client's slots in a site", () => {
  it("are 256 blocks of 1,024, a quarter for exact names, and 512 of its own for each gateway", () => {
    const zones = Result.getOrThrow(zonesOf(defaultRanges.proxy4))
    assert.deepStrictEqual(zones.block(0), { from: 0, to: 1_024 })
    assert.deepStrictEqual(zones.block(255), { from: 261_120, to: 262_144 })
    assert.deepStrictEqual(zones.exact(0), { from: 262_144, to: 393_216 })
    assert.deepStrictEqual(zones.own(0, 0), { from: 393_216, to: 393_728 })
    assert.deepStrictEqual(zones.own(255, 0), { from: 523_776, to: 524_288 })
  })

  it("follow each other without a gap, and none has a slot of another one", () => {
    for (const range of [defaultRanges.proxy4, "10.0.0.0/18"]) {
      const zones = Result.getOrThrow(zonesOf(range))
      const numbers = Array.from({ length: maxGateways }, (_, no) => no)
      const all: ReadonlyArray<SlotSpan> = [
        ...numbers.map((no) => zones.block(no)),
        zones.exact(0),
        ...numbers.map((no) => zones.own(no, 0))
      ]
      assert.strictEqual(all[0]?.from, 0)
      for (const [i, { from, to }] of all.entries()) {
        assert.isBelow(from, to)
        assert.strictEqual(all[i + 1]?.from ?? to, to)
      }
    }
  })

  it("need ranges of 4,096 names; smaller ones are refused in words", () => {
    assert.isTrue(Result.isSuccess(zonesOf("10.0.0.0/18", "fd00::/114")))
    const words = Result.fail({
      cause: "the proxy ranges have addresses for 2048 names of a client, and several gateways need room for 4096",
      fix: "make proxy_ipv4 a /18 or larger and proxy_ipv6 a /114 or larger (network:)"
    })
    assert.deepStrictEqual(zonesOf("10.0.0.0/19"), words)
    assert.deepStrictEqual(zonesOf("10.0.0.0/18", "fd00::/115"), words)
  })
})
