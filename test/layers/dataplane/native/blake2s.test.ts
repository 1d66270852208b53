import { assert, describe, it } from "@effect/vitest"
import { blake2s } from "@noble/hashes/blake2.js"
import { hmac } from "@noble/hashes/hmac.js"
import { type Blake2s, chooseBlake2s } from "../../../../layers/dataplane/native/blake2s.ts"
import { bindBlake2s, type EvpBlake2s } from "../../../../layers/dataplane/native/evp.ts"
import { makeMemory } from "../../../../layers/dataplane/native/memory.ts"
import { makeNodePrimitives } from "../../../../layers/dataplane/nodePrimitives.ts"
import { bytes } from "../../../support/packetArbitraries.ts"
import { concat } from "../../../../src/packet/bytes.ts"

const memory = makeMemory(1)
const node = makeNodePrimitives(new Uint8Array(0))
const native = chooseBlake2s(memory, node)

const unknown: Blake2s = {
  blake2s: () => assert.fail("it was asked for"),
  hmacBlake2s: () => assert.fail("it was asked for")
}

describe("BLAKE2s by EVP", () => {
  it("is what this Node.js has", () => {
    assert.notStrictEqual(native, node)
  })

  it.prop("digests parts behind each other as another implementation does", [bytes(200), bytes(200)], ([a, b]) => {
    assert.deepStrictEqual(native.blake2s(a, b), blake2s(concat([a, b])))
  })

  it.prop(
    "authenticates as another implementation does, with a key of any length",
    [bytes(80), bytes(200)],
    (drawn) => {
      const [key, data] = drawn

      assert.deepStrictEqual(native.hmacBlake2s(key, data, data), hmac(blake2s, key, concat([data, data])))
    }
  )

  it("leaves longer input to the other implementation", () => {
    const long = new Uint8Array(5_000).fill(7)

    assert.deepStrictEqual(native.blake2s(long), blake2s(long))
    assert.deepStrictEqual(native.hmacBlake2s(long.subarray(0, 32), long), hmac(blake2s, long.subarray(0, 32), long))
  })

  it("leaves neither key nor data nor digest in the arena", () => {
    const key = Uint8Array.from({ length: 32 }, (_, i) => 0x41 + i)
    const data = Uint8Array.from({ length: 100 }, (_, i) => 0x99 ^ i)
    const results = [native.hmacBlake2s(key, data), native.blake2s(data), native.hmacBlake2s(key, data.subarray(0, 1))]
    const arena = Buffer.from(memory.memory.buffer)

    const block = Uint8Array.from({ length: 64 }, (_, i) => (key[i] ?? 0) ^ 0x5c)
    const inner = blake2s(concat([block.map((byte) => byte ^ 0x5c ^ 0x36), data]))
    for (const secret of [key, data, block, inner, ...results]) assert.strictEqual(arena.indexOf(secret), -1)
  })

  it("gives way to the other implementation where it is missing or wrong", () => {
    const missing = (): EvpBlake2s => {
      throw new Error("Cannot find function")
    }
    const broken: ReadonlyArray<Partial<EvpBlake2s>> = [{ fetch: () => 0 }, { digest: () => 0 }, { digest: () => 1 }]

    assert.strictEqual(chooseBlake2s(memory, unknown, missing), unknown)
    for (const part of broken) {
      assert.strictEqual(
        chooseBlake2s(memory, node, () => ({ ...bindBlake2s(), ...part })),
        node
      )
    }
  })
})
