import { x25519 } from "@noble/curves/ed25519.js"
import { assert, describe, it } from "@effect/vitest"
import { createPublicKey } from "node:crypto"
import { makeMemory } from "../../../../layers/dataplane/native/memory.ts"
import { bindX25519, type EvpX25519 } from "../../../../layers/dataplane/native/evp.ts"
import { chooseX25519, type X25519 } from "../../../../layers/dataplane/native/x25519.ts"
import { bytes } from "../../../support/packetArbitraries.ts"

const memory = makeMemory(1)
const otherwise: X25519 = (secret) => ({ publicKey: secret, agree: () => undefined, free: () => {} })
const native = chooseX25519(memory, otherwise)

const hex = (value: Uint8Array | undefined) => (value === undefined ? undefined : Buffer.from(value).toString("hex"))
/** 32 bytes out of any. */
const secretOf = (given: Uint8Array) => Uint8Array.from({ length: 32 }, (_, i) => (given[i] ?? i) ^ (i * 7))

describe("X25519 by EVP", () => {
  it.prop("agrees with another implementation, with any number of others", [bytes(32), bytes(32)], ([a, b]) => {
    const secret = secretOf(a)
    const own = native(secret)
    const others = [0, 1, 2].map((n) => x25519.getPublicKey(secretOf(b.map((byte) => byte ^ n))))

    assert.strictEqual(hex(own.publicKey), hex(x25519.getPublicKey(secret)))
    for (const other of others) assert.strictEqual(hex(own.agree(other)), hex(x25519.getSharedSecret(secret, other)))
    own.free()
  })

  it("refuses low-order points and keys of a wrong length, is good for others then, and leaves no error for node", () => {
    const secret = secretOf(new Uint8Array(0))
    const own = native(secret)
    const points = [
      "0000000000000000000000000000000000000000000000000000000000000000",
      "0100000000000000000000000000000000000000000000000000000000000000",
      "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
      "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"
    ]
    for (const point of points) assert.isUndefined(own.agree(Buffer.from(point, "hex")))
    assert.isUndefined(own.agree(new Uint8Array(31).fill(5)))
    assert.throws(() => native(new Uint8Array(31)), "32 bytes")
    const other = x25519.getPublicKey(secretOf(Uint8Array.of(9)))
    assert.strictEqual(hex(own.agree(other)), hex(x25519.getSharedSecret(secret, other)))
    assert.throws(() => createPublicKey("no key"), /DECODER|unsupported|PEM/i)
  })

  it("leaves neither secret nor agreement in the arena", () => {
    const secret = secretOf(Uint8Array.of(1, 2, 3))
    const shared = native(secret).agree(x25519.getPublicKey(secretOf(Uint8Array.of(9))))!
    const arena = Buffer.from(memory.memory.buffer)

    assert.strictEqual(arena.indexOf(secret), -1)
    assert.strictEqual(arena.indexOf(shared), -1)
  })

  it("is of no use once it is freed, however often", () => {
    const own = native(secretOf(Uint8Array.of(1)))

    own.free()
    own.free()

    assert.throws(() => own.agree(x25519.getPublicKey(secretOf(Uint8Array.of(2)))), "freed")
  })

  it("gives way to the other implementation where it is missing or wrong", () => {
    const missing = (): EvpX25519 => {
      throw new Error("Cannot find function")
    }
    const broken: ReadonlyArray<Partial<EvpX25519>> = [
      { newPrivate: () => 0 },
      { newContext: () => 0 },
      { deriveInit: () => 0 },
      { setPeer: () => 0 },
      { derive: () => 0 },
      { derive: () => 1 },
      { getPublic: () => 0 }
    ]
    assert.strictEqual(chooseX25519(memory, otherwise, missing), otherwise)
    for (const part of broken) {
      assert.strictEqual(
        chooseX25519(memory, otherwise, () => ({ ...bindX25519(), ...part })),
        otherwise
      )
    }
    assert.notStrictEqual(native, otherwise)
  })
})
