import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { fromBase64, fromHex, toHex } from "../../src/dataplane/bytesText.ts"
import { Interner } from "../../src/dataplane/engine/interner.ts"
import { NoticeBox } from "../../src/dataplane/engine/noticeBox.ts"
import { Stage } from "../../src/dataplane/engine/stage.ts"
import { MappingId } from "../../src/model/Mapping.ts"

const mapping = MappingId.make("alice/app/app.corp")

describe("NoticeBox", () => {
  it("lets one notice per mapping, cause and second through and counts the others", () => {
    const box = new NoticeBox(7)
    const put = [0, 999, 1_000, 1_999].map((now) => box.traffic(1, 3, mapping, "Unmapped", now))
    assert.deepStrictEqual(put, [true, false, true, false])
    assert.strictEqual(box.coalesced, 2)
    assert.isTrue(box.traffic(1, 3, mapping, "Unanswered", 1_000))
    assert.isTrue(box.traffic(1, 4, mapping, "Unmapped", 1_000))
  })

  it("lets 1,024 at once and 128 a second of one client through, and all of another one", () => {
    const box = new NoticeBox(7)
    const put = (client: number, from: number, count: number, now: number): number =>
      Array.from({ length: count }, (_, i) => box.traffic(client, from + i, mapping, "Unmapped", now)).filter(Boolean)
        .length
    assert.strictEqual(put(1, 0, 4_096, 0), 1_024)
    assert.strictEqual(put(1, 1_024, 3_072, 1_000), 128)
    assert.deepStrictEqual([box.limited, box.coalesced], [3_072 + 2_944, 0])
    assert.strictEqual(put(2, 5_000, 1_000, 1_000), 1_000)
    box.forgetClient(1)
    assert.strictEqual(put(1, 2_000, 1_000, 1_000), 1_000)
  })

  it("hands everything out once, in order, with the worker's epoch", () => {
    const box = new NoticeBox(7)
    box.traffic(1, 0, mapping, "Stale", 0)
    box.put({ _tag: "Fault", epoch: 7, message: "x" })
    assert.deepStrictEqual(box.take(), [
      { _tag: "Traffic", epoch: 7, mapping, cause: "Stale" },
      { _tag: "Fault", epoch: 7, message: "x" }
    ])
    assert.deepStrictEqual(box.take(), [])
  })

  it("starts anew for an index that another mapping gets", () => {
    const box = new NoticeBox(1)
    box.traffic(1, 0, mapping, "Stale", 0)
    box.forgetMapping(0)
    assert.isTrue(box.traffic(1, 0, mapping, "Stale", 1))
  })
})

describe("Interner", () => {
  it("gives a name one index until it is removed, and a freed index to the next name", () => {
    const interner = new Interner<string>()
    assert.deepStrictEqual([interner.retain("a"), interner.retain("b"), interner.retain("a")], [0, 1, 0])
    interner.remove("a")
    interner.remove("a")
    assert.deepStrictEqual([interner.find("a"), interner.name(0)], [-1, undefined])
    assert.deepStrictEqual([interner.retain("c"), interner.retain("d"), interner.name(0)], [0, 2, "c"])
  })

  it("keeps a name until it is released as often as it was retained", () => {
    const interner = new Interner<string>()
    const index = interner.retain("a")
    interner.retain("a")
    interner.release(index)
    assert.strictEqual(interner.find("a"), index)
    interner.release(index)
    assert.strictEqual(interner.find("a"), -1)
    interner.release(index)
    assert.strictEqual(interner.retain("b"), index)
  })

  it("has each removed number forgotten before it is free, first by those who asked last", () => {
    const interner = new Interner<string>()
    const forgotten: Array<string> = []
    interner.onRemoved((index) => forgotten.push(`first ${interner.name(index)}`))
    interner.onRemoved((index) => forgotten.push(`second ${interner.name(index)}`))
    interner.release(interner.retain("a"))
    interner.retain("b")
    interner.remove("b")
    assert.deepStrictEqual(forgotten, ["second a", "first a", "second b", "first b"])
  })

  it.prop(
    "never gives two living names one index",
    [Schema.Array(Schema.Literals(["a", "b", "c", "d"]))],
    ([names]) => {
      const interner = new Interner<string>()
      const living = new Set<string>()
      for (const name of names) {
        if (living.delete(name)) interner.remove(name)
        else if (living.add(name)) interner.retain(name)
        const indices = [...living].map((n) => interner.find(n))
        assert.strictEqual(new Set(indices).size, living.size)
        for (const n of living) assert.strictEqual(interner.name(interner.find(n)), n)
      }
    }
  )
})

describe("Stage", () => {
  const packet = (n: number) => Uint8Array.of(9, n, 9)

  it("keeps 16 copies, refuses the next, and gives them back in order", () => {
    const stage = new Stage()
    const bytes = packet(0)
    assert.isTrue(stage.put(bytes, 1, 1, 0))
    bytes[1] = 99
    for (let n = 1; n < 16; n++) assert.isTrue(stage.put(packet(n), 1, 1, n))
    assert.isFalse(stage.put(packet(16), 1, 1, 17))
    assert.deepStrictEqual(
      stage.take(20).map((p) => [...p]),
      Array.from({ length: 16 }, (_, n) => [n])
    )
    assert.isTrue(stage.isEmpty)
  })

  it("gives up what is older than 5 seconds, and makes room for new packets with that", () => {
    const stage = new Stage()
    for (let n = 0; n < 16; n++) stage.put(packet(n), 1, 1, n === 0 ? 0 : 3_000)
    assert.isTrue(stage.put(packet(16), 1, 1, 5_001))
    assert.strictEqual(stage.take(8_001).length, 1)
  })

  it("is empty after it was cleared", () => {
    const stage = new Stage()
    stage.put(packet(1), 0, 3, 0)
    stage.clear()
    assert.strictEqual(stage.take(0).length, 0)
  })
})

describe("keys as text", () => {
  it.prop(
    "base64 of 32 bytes is read as the runtime writes it, and nothing else is",
    [Schema.Array(Schema.Int)],
    ([numbers]) => {
      const bytes = Uint8Array.from({ length: 32 }, (_, i) => (numbers[i] ?? i * 7) & 255)
      const text = Buffer.from(bytes).toString("base64")
      assert.deepStrictEqual(fromBase64(text, 32), bytes)
      for (const wrong of [
        text.slice(1),
        `${text}=`,
        text.replace("=", ""),
        `${text}AAAA`,
        ` ${text}`,
        text.slice(0, 40)
      ])
        assert.isUndefined(fromBase64(wrong, 32))
    }
  )

  it.prop("hex goes both ways for any bytes", [Schema.Array(Schema.Int)], ([numbers]) => {
    const bytes = Uint8Array.from(numbers, (n) => n & 255)
    assert.deepStrictEqual(fromHex(toHex(bytes), bytes.length), bytes)
    assert.isUndefined(fromHex(toHex(bytes), bytes.length + 1))
    assert.isUndefined(fromHex("zz", 1))
  })
})
