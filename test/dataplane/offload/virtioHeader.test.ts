import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import {
  gsoNone,
  gsoTcp4,
  gsoTcp6,
  gsoUdp,
  makeVirtioHeader,
  readVirtioHeader,
  virtioHeaderLength,
  writeVirtioHeader
} from "../../../src/dataplane/offload/virtioHeader.ts"

const Word = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 0xffff }))

describe("the virtio header", () => {
  it("is laid out as in linux/virtio_net.h", () => {
    const bytes = new Uint8Array(12).fill(0xee)

    writeVirtioHeader(bytes, 1, {
      partial: true,
      kind: gsoTcp6,
      headerLength: 0x0102,
      segmentSize: 0x0304,
      checksumStart: 0x0506,
      checksumOffset: 0x0708
    })

    assert.deepStrictEqual([...bytes], [0xee, 1, 4, 2, 1, 4, 3, 6, 5, 8, 7, 0xee])
  })

  it.prop(
    "is read as it was written",
    [Schema.Boolean, Schema.Literals([gsoNone, gsoTcp4, gsoTcp6, gsoUdp]), Word, Word, Word, Word],
    ([partial, kind, headerLength, segmentSize, checksumStart, checksumOffset]) => {
      const bytes = new Uint8Array(virtioHeaderLength + 3)
      const header = { partial, kind, headerLength, segmentSize, checksumStart, checksumOffset }
      const read = makeVirtioHeader()

      writeVirtioHeader(bytes, 3, header)

      assert.isTrue(readVirtioHeader(bytes, 3, read))
      assert.deepStrictEqual(read, header)
    }
  )

  it("of a TCP super-packet with CWR is that of any other: the segmenter sees CWR itself", () => {
    const read = makeVirtioHeader()

    assert.isTrue(readVirtioHeader(Uint8Array.of(1, 0x81, 54, 0, 0xb4, 5, 34, 0, 16, 0), 0, read))
    assert.strictEqual(read.kind, gsoTcp4)
  })

  it("ignores flags that mean nothing to us, such as a checksum known to be right", () => {
    const read = makeVirtioHeader()

    assert.isTrue(readVirtioHeader(Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0, read))
    assert.isFalse(read.partial)
  })

  it("of a kind that was never asked for is refused", () => {
    for (const kind of [2, 3, 6, 7, 0x20, 0x41, 0x61]) {
      assert.isFalse(readVirtioHeader(Uint8Array.of(1, kind, 0, 0, 0, 0, 0, 0, 0, 0), 0, makeVirtioHeader()))
    }
  })
})
