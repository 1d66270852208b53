import { assert, describe, it } from "@effect/vitest"
import { AddressSilence } from "../../src/nat/addressSilence.ts"

const [client, mapping] = [1, 7]
const real = { w0: 0, w1: 0, w2: 0xffff, w3: 0x0a00050a }

/** Tries of each address that were told. */
const told = (silence: AddressSilence, now: number): Array<number> => {
  const tries: Array<number> = []
  silence.take(10, now, (_mapping, _real, count) => tries.push(count))
  return tries
}

describe("an address that does not answer", () => {
  it("is told after three seconds, and once it answers again", () => {
    const silence = new AddressSilence()
    silence.tried(client, mapping, real, 0)
    const [early, late] = [told(silence, 2_000), told(silence, 3_000)]
    silence.replied(client, mapping, real, 4_000)

    assert.deepStrictEqual([early, late, told(silence, 5_000), told(silence, 6_000)], [[], [1], [0], []])
  })

  it("is told to answer again although what was known of it is gone since", () => {
    const silence = new AddressSilence()
    silence.tried(client, mapping, real, 0)
    const before = told(silence, 3_000)
    silence.forgetMapping(mapping)
    silence.tried(client, mapping, real, 4_000)
    silence.replied(client, mapping, real, 4_010)

    assert.deepStrictEqual([before, told(silence, 5_000)], [[1], [0]])
  })
})
