import { chacha20poly1305 } from "@noble/ciphers/chacha.js"
import { assert, describe, it } from "@effect/vitest"
import { bindEvp, type Evp } from "../../../../layers/dataplane/native/evp.ts"
import { chooseOnceCipher } from "../../../../layers/dataplane/native/onceCipher.ts"
import { makeNodePrimitives } from "../../../../layers/dataplane/nodePrimitives.ts"
import { bytes, integer } from "../../../support/packetArbitraries.ts"
import { range } from "../../../support/bytes.ts"

const node = makeNodePrimitives(new Uint8Array(0))
const native = chooseOnceCipher(bindEvp(), node)
const key = range(3, 35)

describe("the cipher of short values by EVP", () => {
  it("is what this Node.js has", () => {
    assert.notStrictEqual(native, node)
  })

  it.prop("seals as another implementation does, and opens it", [bytes(300), bytes(300)], ([plain, additional]) => {
    const sealed = native.sealOnce(key, plain, additional)

    assert.deepStrictEqual(sealed, chacha20poly1305(key, new Uint8Array(12), additional).encrypt(plain))
    assert.deepStrictEqual(native.openOnce(key, sealed, additional), plain)
  })

  it.prop("opens nothing that was bent", [integer(0, 47), integer(1, 255)], ([position, flip]) => {
    const sealed = native.sealOnce(key, range(0, 32), range(7, 39))
    sealed[position]! ^= flip

    assert.isUndefined(native.openOnce(key, sealed, range(7, 39)))
    assert.isUndefined(native.openOnce(key, sealed.subarray(0, 15), range(7, 39)))
  })

  it("gives way to the other implementation where it is missing or wrong", () => {
    const broken: ReadonlyArray<Partial<Evp>> = [
      { newContext: () => 0 },
      { encryptInit: () => 0 },
      { encryptUpdate: () => 1 },
      { encryptFinal: () => 0 },
      { decryptFinal: () => 1 },
      { control: () => 1 }
    ]
    for (const part of broken) assert.strictEqual(chooseOnceCipher({ ...bindEvp(), ...part }, node), node)
  })
})
