import { hkdf } from "@noble/hashes/hkdf.js"
import { blake2s } from "@noble/hashes/blake2.js"
import { assert, describe, it } from "@effect/vitest"
import { makeNodePrimitives } from "../../layers/dataplane/nodePrimitives.ts"
import { kdf } from "../../src/wireguard/kdf.ts"
import { SymmetricState } from "../../src/wireguard/noise.ts"
import { bytes } from "../support/packetArbitraries.ts"
import { hexOf, range } from "../support/bytes.ts"

const p = makeNodePrimitives(new Uint8Array(0))

describe("the Noise key schedule", () => {
  it("derives known keys", () => {
    // Computed with Python's hmac and hashlib.
    assert.deepStrictEqual(kdf(p, range(0, 32), range(32, 64), 3).map(hexOf), [
      "6a96444e20e8d4c1cee974416acae1c10b3c92886010e54ed94dafb2c3b80ea0",
      "57af120b0de7acbe7907ec149c5ae870a2dbb74232b65777ba4123f1f7f888f5",
      "0926c7caabb6e8d73beda759e6f4f0d324ce5b5000bcf8cd784b26db3049faa9"
    ])
  })

  it.prop("is HKDF-BLAKE2s with an empty info", [bytes(32), bytes(40)], ([salt, input]) => {
    const joined = Buffer.concat(kdf(p, salt, input, 3))

    assert.strictEqual(hexOf(joined), hexOf(hkdf(blake2s, input, salt, new Uint8Array(0), 96)))
  })

  it("starts from the constants of the whitepaper", () => {
    const state = SymmetricState.initial(p, new Uint8Array(32))

    assert.strictEqual(hexOf(state.chainKey), "60e26daef327efc02ec335e2a025d2d016eb4206f87277f52d38d1988b78cd36")
    const hash = Buffer.from("2211b361081ac566691243db458ad5322d9c6c662293e8b70ee19c65ba079ef3", "hex")
    assert.strictEqual(hexOf(state.hash), hexOf(p.blake2s(hash, new Uint8Array(32))))
  })

  it("zeroes replaced chaining keys and used field keys", () => {
    const state = SymmetricState.initial(p, new Uint8Array(32))
    const old = state.chainKey
    const key = state.mixKeyAndDerive(range(0, 32))
    state.seal(key, range(0, 5))
    const last = state.chainKey
    state.split()

    for (const secret of [old, key, last]) assert.isTrue(secret.every((byte) => byte === 0))
  })

  it("leaves the hash alone when a field is forged", () => {
    const state = SymmetricState.initial(p, new Uint8Array(32))
    const before = hexOf(state.hash)

    assert.isUndefined(state.open(range(0, 32), range(0, 48)))
    assert.strictEqual(hexOf(state.hash), before)
  })
})
