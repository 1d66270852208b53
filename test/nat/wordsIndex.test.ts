import { assert, it } from "@effect/vitest"
import { Arbitrary } from "effect"
import { WordsIndex } from "../../src/nat/wordsIndex.ts"
import { words } from "../../src/packet/address.ts"
import { integer } from "../support/packetArbitraries.ts"

const operation = Arbitrary.all({
  what: integer(0, 4),
  space: integer(0, 2),
  key: integer(0, 40),
  value: integer(0, 9)
})
const operations = integer(1, 150).pipe(
  Arbitrary.flatMap((length) => Arbitrary.array(operation, { minLength: length, maxLength: length }))
)

it.prop("an address index behaves as a Map does, through growth and removal", [operations], ([ops]) => {
  const index = new WordsIndex()
  const model = new Map<string, number>()
  for (const { what, space, key, value } of ops) {
    const address = words(key & 1, key & 2, 0xffff, key)
    const text = `${space} ${key}`
    if (what < 3) {
      index.set(space, address, value)
      model.set(text, value)
    } else assert.strictEqual(index.delete(space, address), model.delete(text))
    assert.strictEqual(index.size, model.size)
    assert.strictEqual(everything(index), expected(model))
  }
  index.clear()
  assert.strictEqual(index.size, 0)
  assert.strictEqual(index.get(0, words(0, 0, 0xffff, 0)), -1)
})

const keys = [0, 1, 2].flatMap((space) => Array.from({ length: 41 }, (_, key) => [space, key] as const))
const everything = (index: WordsIndex) => keys.map(([s, k]) => index.get(s, words(k & 1, k & 2, 0xffff, k))).join(" ")
const expected = (model: ReadonlyMap<string, number>) => keys.map(([s, k]) => model.get(`${s} ${k}`) ?? -1).join(" ")
