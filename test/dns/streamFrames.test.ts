import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import { frame, StreamFrames } from "../../src/dns/streamFrames.ts"
import { integer } from "../support/packetArbitraries.ts"

const message = (length: number, fill: number): Uint8Array => new Uint8Array(length).fill(fill)

describe("messages of a stream", () => {
  it.prop(
    "come out as they went in, however the stream is cut",
    [
      Arbitrary.array(integer(12, 400), { minLength: 1, maxLength: 6 }),
      Arbitrary.array(integer(1, 300), { minLength: 1, maxLength: 8 })
    ],
    ([lengths, cuts]) => {
      const messages = lengths.map((length, i) => message(length, i))
      const stream = Buffer.concat(messages.map(frame))
      const frames = new StreamFrames()
      const read: Array<Uint8Array> = []
      for (let at = 0, i = 0; at < stream.length; i++) {
        const size = cuts[i % cuts.length]!
        read.push(...frames.push(stream.subarray(at, at + size))!)
        at += size
      }
      assert.deepStrictEqual(read, messages)
    }
  )

  it("may be as long as a length can say, in pieces of a byte", () => {
    const stream = frame(message(0xffff, 7))
    const frames = new StreamFrames()
    let read: ReadonlyArray<Uint8Array> = []
    for (const byte of stream) read = frames.push(Uint8Array.of(byte))!
    assert.deepStrictEqual(
      read.map(({ length }) => length),
      [0xffff]
    )
  })

  it("shorter than a header are none: the stream is of no use", () => {
    assert.isNull(new StreamFrames().push(Uint8Array.of(0, 11)))
    assert.isNull(new StreamFrames().push(Uint8Array.from([...frame(message(12, 1)), 0, 0])))
  })
})
