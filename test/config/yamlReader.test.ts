import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { makeYamlReader } from "../../src/config/yamlReader.ts"
import { parseYaml, type YamlSource } from "../../src/config/yamlSource.ts"
import { makeRandom } from "../support/traffic.ts"
import { example, key } from "./fixtures.ts"

/** All that can be asked of a file: the value, and where each part of it is, or would be. */
const told = ({ linesIn, locate, value }: YamlSource) => {
  const places: Array<unknown> = []
  const walk = (of: unknown, path: ReadonlyArray<PropertyKey>): void => {
    for (const isKey of [false, true]) places.push([path, isKey, locate(path, isKey), locate([...path, "nope"], isKey)])
    if (typeof of !== "object" || of === null) return
    for (const [name, inner] of Object.entries(of)) walk(inner, [...path, name])
  }
  walk(value, [])
  const parts = ["nope", ...Object.keys(value ?? {})]
  return { value: JSON.stringify(value), places, lines: parts.map((part) => [part, [...linesIn(part)]]) }
}

const read = (reader: typeof parseYaml, text: string) => Result.map(reader(text), told)

/** Whether both values of the files are the same one. */
const isKept = (
  reader: typeof parseYaml,
  before: string,
  after: string,
  ...[part, name]: readonly [string, string]
) => {
  const [then, now] = [before, after].map((text) => {
    const value = Result.getOrThrow(reader(text)).value as Readonly<Record<string, Readonly<Record<string, unknown>>>>
    return value[part]?.[name]
  })
  assert.isObject(now)
  return then === now
}

describe("a YAML file that is read again", () => {
  it("keeps the entries whose text is the same, wherever they are by now", () => {
    const late = `clients:\n  # new\n  late: { public_key: "${key(3)}" }\n`
    assert.isTrue(isKept(makeYamlReader(), example, example.replace("clients:\n", late), "clients", "bob"))
    assert.isFalse(isKept(makeYamlReader(), example, example.replace("[eng] }", "[ops] }"), "clients", "alice-laptop"))
  })

  it("keeps them over a file that is wrong", () => {
    const reader = makeYamlReader()
    const before = Result.getOrThrow(reader(example)).value as { readonly clients: Readonly<Record<string, unknown>> }
    assert.isTrue(Result.isFailure(reader(`${example}  web: [\n`)))
    const after = Result.getOrThrow(reader(example)).value as typeof before
    assert.strictEqual(before.clients["bob"], after.clients["bob"])
  })

  const odd: Readonly<Record<string, string>> = {
    "an end of the document between": "a: 1\n...\nb: 2\n",
    "a document after it": "a: 1\n---\nb: 2\n",
    "a directive": "a: 1\n%YAML 1.1\nb: 010\n",
    "a byte order mark": "\uFEFFa: 1\nb: 2\n",
    "a key twice": "a: 1\nb: 2\na: 3\n",
    "a key twice in a section": "a:\n  x: 1\n  y: 2\n  x: 3\n",
    "a key that is a number, written in two ways": "a:\n  16: 1\n  0x10: 2\n",
    "an anchor that is used elsewhere": "a: &x { y: 1 }\nb: *x\n",
    "an anchor of a section": "a: &x\n  y: 1\nb: *x\n",
    "an alias of its own entry": "a:\n  x: [&y 1, *y]\n  z: 2\n",
    "text over lines": "a:\n  x: |\n    y: 1\n\n  # no comment\n  z: >-\n    - w\n   # none\nb: 2\n",
    "text in quotes over lines": "a:\n  x: \"y\n    z: 1\n    w\"\n  z: 'a\n\n    b: 2'\n",
    "quotes that do not end": 'a:\n  x: "y\n  z: 1\nb: 2\n',
    "brackets over lines": "a:\n  x: {\n    y: 1,\n    z: [2,\n    3]\n    }\nb: [\n 1\n ]\n",
    "brackets that end too early": "a:\n  x: {\n    y: 1\n  }\nb: [\n 1\n]\n",
    "an entry further in": "a:\n  x: 1\n    y: 2\n",
    "an entry further out": "a:\n    x: 1\n  y: 2\nb: 3\n",
    "a list at the key's indentation": "a:\n- 1\n- b: 2\n  c: 3\nd:\n  e:\n  - 1\n  f: 2\n",
    "a section without entries": "a:\n  # none\nb:\nc: ~\n",
    "an empty section with another value": "a: ~\n  x: 1\nb: 2\n",
    "explicit keys": "? a\n: 1\nb: 2\n",
    "keys with blanks": "a b: 1\nc:\n  d e: 2\n  f : 3\n",
    "keys in quotes": "\"a\": 1\n'b':\n  \"c: d\": 2\n  'e': 3\n",
    "a key that must not be": "a:\n  __proto__: 1\nb: 2\n",
    "an empty key": 'a:\n  "": 1\nb: 2\n',
    "keys that JavaScript knows": "constructor: 1\ntoString:\n  hasOwnProperty: 2\n",
    "keys that are numbers": "2: a\n1:\n  4: x\n  3: y\n",
    "Windows line ends": "a:\r\n  x: 1 # y\r\n\r\n  z: 2\r\nb: 3\r\n",
    "old Mac line ends": "a:\r  x: 1\rb: 2\r",
    "other line ends of Unicode": "a: x\u2028b: y\u2028--- z\nc:\n  d: 1\u2029\n",
    "tabs between words": "a:\t# x\n  x:\t1\nb:\n\tc: 1\n",
    "a tag": "a: !!str\nb:\n  c: !x 1\n  d: 2\n",
    "a tab alone in a line": "a:\n  # c\n\t\r\n\n1:\n  y: 2\n",
    "an old Mac line end between": "\r\r\na: 1\nb:\n# c\n",
    "a list's empty end": "a:\n  b:\n    -\n",
    "no final line end": "a:\n  x: 1\n  y: 2",
    "text, and no mapping": "a\n",
    nothing: "",
    "comments alone": "# a: 1\n\n"
  }
  it.each(Object.entries(odd))("says what a file says that is read as one: %s", (_, text) => {
    assert.deepStrictEqual(read(makeYamlReader(), text), read(parseYaml, text))
  })

  it("says what a file says that is read as one, through thousands of changes of every kind", () => {
    const random = makeRandom(15)
    const any = <A>(of: ReadonlyArray<A>): A => of[random.below(of.length)]!
    const lines = [example, ...Object.values(odd)].flatMap((text) => text.match(/[^\n]*\n?/g) ?? [])
    let right = 0
    for (let file = 0; file < 25; file++) {
      const reader = makeYamlReader()
      let text = example
      for (let change = 0; change < 40; change++) {
        const before = text
        const own = text.match(/[^\n]*\n|[^\n]+/g) ?? []
        const at = random.below(own.length + 1)
        if (random.chance(0.4)) own.splice(at, 0, any(lines))
        else if (random.chance(0.3)) own.splice(at, 1)
        else if (random.chance(0.5)) own.splice(at, 1, any([" ", "  ", "    "]) + (own[at] ?? "").trimStart())
        else own.splice(at, 0, ...own.splice(random.below(own.length + 1), 1 + random.below(3)))
        text = own.join("")
        const [now, expected] = [read(reader, text), read(parseYaml, text)]
        assert.deepStrictEqual(now, expected, text)
        if (Result.isSuccess(now)) right++
        // Most changes that make a file wrong are taken back: the next ones would not show.
        else if (random.chance(0.9)) text = before
      }
    }
    assert.isAbove(right, 200)
  })
})
