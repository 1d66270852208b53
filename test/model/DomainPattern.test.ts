import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import {
  canonicalDomain,
  compareSpecificity,
  domainOf,
  matches,
  PatternIndex,
  validate
} from "../../src/model/DomainPattern.ts"
import { labelsOf } from "../../src/dns/name.ts"

const label = Schema.Literals(["a", "b", "app", "web1", "x-y", "_srv"])
const name = Schema.Array(label).check(Schema.isMinLength(1), Schema.isMaxLength(6))
const patternLabel = Schema.Literals(["a", "b", "app", "*", "**", "?", "a*", "*b", "?p*", "x-?"])
const pattern = Schema.Array(patternLabel).check(Schema.isMinLength(1), Schema.isMaxLength(6))

/** The rules of the pattern written down a second time, as a regular expression. */
const oracle = (labels: ReadonlyArray<string>, domain: string): boolean => {
  const one = (l: string) => l.replaceAll("*", "[^.]*").replaceAll("?", "[^.]")
  const from = (rest: ReadonlyArray<string>): string => {
    const [head, ...tail] = rest
    if (head === undefined) return ""
    if (head !== "**") return one(head) + (tail.length === 0 ? "" : `\\.${from(tail)}`)
    return tail.length === 0 ? "[^.]+(?:\\.[^.]+)*" : `(?:[^.]+\\.)*${from(tail)}`
  }
  const collapsed = labels.filter((l, i) => l !== "**" || labels[i - 1] !== "**")
  const bare = labels[0] === "*" && labels.slice(1).join(".") === domain
  // Several `**` that must each be able to be empty, the last one not: the last is spelled out by `from`.
  return bare || new RegExp(`^${from(collapsed)}$`).test(domain)
}

describe("DomainPattern", () => {
  it("covers exactly the names that the rules of 1.2.0 say", () => {
    const cases: ReadonlyArray<readonly [string, string, boolean]> = [
      ["example.com", "example.com", true],
      ["example.com", "EXAMPLE.com.", true],
      ["Example.COM", "example.com", true],
      ["example.com", "a.example.com", false],
      ["example.com", "notexample.com", false],
      ["*.example.com", "example.com", true],
      ["*.example.com", "a.example.com", true],
      ["*.example.com", "a.b.example.com", false],
      ["*.example.com", "xexample.com", false],
      ["**.example.com", "example.com", true],
      ["**.example.com", "a.b.c.example.com", true],
      ["**.example.com", "example.com.evil.net", false],
      ["?.example.com", "a.example.com", true],
      ["?.example.com", "ab.example.com", false],
      ["?.example.com", "example.com", false],
      ["app-*.example.com", "app-1.example.com", true],
      ["app-*.example.com", "app-.example.com", true],
      ["app-*.example.com", "app-1.x.example.com", false],
      ["a.**.example.com", "a.example.com", true],
      ["a.**.example.com", "a.b.c.example.com", true],
      ["lab.**", "lab", false],
      ["lab.**", "lab.a.b", true],
      ["**", "anything.at.all", true],
      ["*", "localhost", true],
      ["*", "two.labels", false]
    ]
    for (const [p, d, expected] of cases) assert.strictEqual(matches(p, d), expected, `${p} and ${d}`)
  })

  it("covers nothing with a pattern that is none, and says what is wrong with it", () => {
    for (const bad of [
      "",
      ".",
      "a..b",
      "a**.b",
      "***.b",
      "a.b**",
      "[ab].c",
      "a b.c",
      "ä.c",
      "a/b",
      `${"a".repeat(64)}.b`
    ]) {
      assert.isNotNull(validate(bad), bad)
      assert.isFalse(matches(bad, bad), bad)
    }
    assert.isNotNull(validate(`${"a.".repeat(130)}b`))
    assert.isNull(validate("*.svc-?.corp.internal"))
  })

  it("covers names of any bytes, label by label (RFC 2181 §11)", () => {
    const cases: ReadonlyArray<readonly [string, string, boolean]> = [
      ["**.example.com", "front\\032desk._ipp._tcp.Example.com", true],
      ["*.example.com", "a\\.b.example.com", true],
      ["*.example.com", "a.b.example.com", false],
      ["?.example.com", "\\255.example.com", true],
      ["?.example.com", "\\000\\001.example.com", false],
      ["*.example.com", "x/y@z.example.com", true],
      ["a.example.com", "a\\032.example.com", false],
      ["*.b", "*.b", true]
    ]
    for (const [p, d, expected] of cases) assert.strictEqual(matches(p, d), expected, `${p} and ${d}`)
  })

  it("knows the domain that holds all that a pattern covers", () => {
    const cases = [
      ["git.example.com", "example.com"],
      ["*.example.com", "example.com"],
      ["app-?.x.**.example.com.", "example.com"],
      ["lab.**", "."],
      ["host", "."]
    ] as const
    for (const [p, domain] of cases) assert.strictEqual(domainOf(p), domain, p)
  })

  it("covers nothing that is no name", () => {
    for (const bad of ["", ".", "a..b", ".a", "a b", "a\u0000", "ａ.com", `${"a".repeat(64)}.b`, "a.".repeat(200)]) {
      assert.isUndefined(canonicalDomain(bad), bad)
      assert.isFalse(matches("**", bad), bad)
    }
  })

  it.prop(
    "agrees with the same rules written as a regular expression",
    [pattern, name],
    ([labels, parts]) => {
      const domain = parts.join(".")
      assert.strictEqual(matches(labels.join("."), domain), oracle(labels, domain), `${labels.join(".")} and ${domain}`)
    },
    { arbitrary: { runs: 2_000, seed: 1 } }
  )

  it.prop(
    "finds among many those that cover the name, in the order given",
    [Schema.Array(pattern).check(Schema.isMaxLength(20)), name],
    ([patterns, parts]) => {
      const all = patterns.map((labels) => labels.join("."))
      const domain = parts.join(".")
      const found = new PatternIndex(all, (text) => text).covering(domain)
      assert.deepStrictEqual(
        found,
        all.filter((text) => matches(text, domain))
      )
    },
    { arbitrary: { runs: 500, seed: 4 } }
  )

  it.prop(
    "never throws and never covers what is no name",
    [Schema.String, Schema.String],
    ([p, d]) => {
      const covered = matches(p, d)
      if (covered) assert.isNotNull(labelsOf(d))
    },
    { arbitrary: { runs: 500, seed: 2 } }
  )

  it("needs no more than pattern times name steps for hostile patterns", () => {
    const wild = `${"*a".repeat(31)}b`
    const many = `${"**.a.".repeat(40)}b`
    const deep = "a.".repeat(126)
    const began = performance.now()
    for (let i = 0; i < 200; i++) {
      assert.isFalse(matches(wild, "a".repeat(63)))
      assert.isFalse(matches(many, deep))
      assert.isFalse(matches("**.**.**.**.**.**.**.**.x", deep))
    }
    // Backtracking over every star would take longer than the universe has existed.
    assert.isBelow(performance.now() - began, 2_000)
  })

  it("puts the most specific pattern first", () => {
    const sorted = ["a.example.com", "?.example.com", "*.example.com", "**.example.com", "**"]
    assert.deepStrictEqual(sorted.toReversed().sort(compareSpecificity), sorted)
    assert.isBelow(compareSpecificity("example.com", "*.example.com"), 0)
    assert.isBelow(compareSpecificity("*.sub.example.com", "*.example.com"), 0)
    for (const narrow of ["g*.example.com", "?*.example.com", "*g.example.com"]) {
      assert.isBelow(compareSpecificity(narrow, "*.example.com"), 0)
      assert.isBelow(compareSpecificity("example.com", narrow), 0)
    }
  })

  it.prop(
    "orders patterns totally",
    [pattern, pattern, pattern],
    ([x, y, z]) => {
      const [a, b, c] = [x.join("."), y.join("."), z.join(".")]
      assert.strictEqual(Math.sign(compareSpecificity(a, b)), -Math.sign(compareSpecificity(b, a)) + 0)
      if (compareSpecificity(a, b) === 0) assert.strictEqual(a, b)
      if (compareSpecificity(a, b) < 0 && compareSpecificity(b, c) < 0) assert.isBelow(compareSpecificity(a, c), 0)
    },
    { arbitrary: { runs: 500, seed: 3 } }
  )
})
