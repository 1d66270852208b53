import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import * as Schema from "effect/Schema"
import wabt from "wabt"
import { makeNativeChecksum } from "../../../../layers/dataplane/native/checksum.ts"
import { checksumBytes } from "../../../../layers/dataplane/native/checksumBytes.ts"
import { makeMemory } from "../../../../layers/dataplane/native/memory.ts"
import { sumBytes } from "../../../../src/packet/checksum.ts"

const memory = makeMemory(1)
const { bytes } = memory.arena
const { checksum, copy } = makeNativeChecksum(memory)

describe("the SIMD checksum", () => {
  it("is what checksum.wat assembles to", async () => {
    const text = readFileSync(new URL("../../../../layers/dataplane/native/checksum.wat", import.meta.url), "utf8")
    const module = (await wabt()).parseWat("checksum.wat", text, { simd: true, bulk_memory: true })

    module.validate()

    assert.strictEqual(Buffer.from(module.toBinary({}).buffer).toString("base64"), checksumBytes)
  })

  it.prop(
    "sums any bytes at any offset as the plain one does",
    [
      Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 70 })),
      Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 200 })),
      Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 0x1ffff })),
      Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 0x7fffffff }))
    ],
    ([offset, length, initial, seed]) => {
      let state = seed
      for (let i = 0; i < 300; i++) {
        state = (Math.imul(state, 1_103_515_245) + 12_345) | 0
        // Many all-ones bytes: carries are where sums go wrong.
        bytes[i] = (state & 0x30000) === 0 ? 0xff : state >>> 16
      }

      assert.strictEqual(checksum(offset, length, initial), sumBytes(bytes, offset, length, initial))
    }
  )

  it("does not overflow over 64 KiB of ones", () => {
    bytes.fill(0xff, 0, 65_536)

    for (const length of [65_535, 65_536]) {
      assert.strictEqual(checksum(0, length, 0), sumBytes(bytes, 0, length, 0))
    }
  })
})

it("copies within the arena, overlapping ranges as well", () => {
  bytes.set([1, 2, 3, 4, 5, 6], 100)

  copy(102, 100, 6)

  assert.deepStrictEqual([...bytes.subarray(100, 108)], [1, 2, 1, 2, 3, 4, 5, 6])
})
