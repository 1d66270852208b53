import { assert, describe, it } from "@effect/vitest"
import { blake2s } from "@noble/hashes/blake2.js"
import { type Blake2sMac, chooseBlake2sMac } from "../../../../layers/dataplane/native/blake2sMac.ts"
import { bindBlake2sMac, type EvpBlake2sMac } from "../../../../layers/dataplane/native/evp.ts"
import { bytes } from "../../../support/packetArbitraries.ts"
import { range } from "../../../support/bytes.ts"

const reference: Blake2sMac = (key, message) => blake2s(message, { key, dkLen: 16 })
const unknown: Blake2sMac = () => assert.fail("it was asked for")
const native = chooseBlake2sMac(reference)

describe("keyed BLAKE2s-128 by EVP", () => {
  it("is what this Node.js has", () => {
    assert.notStrictEqual(native, reference)
  })

  it.prop(
    "is what another implementation makes, whichever key came before",
    [bytes(31), bytes(256)],
    ([rest, message]) => {
      const key = Uint8Array.of(9, ...rest)

      assert.deepStrictEqual(native(key, message), reference(key, message))
      assert.deepStrictEqual(native(key.subarray(0, 1), message), reference(key.subarray(0, 1), message))
    }
  )

  it("leaves longer messages, and keys that are none, to the other implementation", () => {
    const long = new Uint8Array(257)

    assert.deepStrictEqual(native(range(0, 32), long), reference(range(0, 32), long))
    assert.throws(() => chooseBlake2sMac(unknown)(new Uint8Array(0), long))
  })

  it("gives way to the other implementation where it is missing or wrong", () => {
    const missing = (): EvpBlake2sMac => {
      throw new Error("Cannot find function")
    }
    const broken: ReadonlyArray<Partial<EvpBlake2sMac>> = [
      { fetch: () => 0 },
      { newContext: () => 0 },
      { setParameters: () => 0 },
      { setParameters: () => 1 },
      { init: () => 0 },
      { update: () => 1 },
      { final: () => 1 }
    ]

    assert.strictEqual(chooseBlake2sMac(unknown, missing), unknown)
    for (const part of broken) {
      assert.strictEqual(
        chooseBlake2sMac(reference, () => ({ ...bindBlake2sMac(), ...part })),
        reference
      )
    }
  })
})
