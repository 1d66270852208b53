/** What a hostile or broken sender makes of a good JSON value. */
import * as Schema from "effect/Schema"

/** Where to change, and into what: indexes are taken modulo what is there. */
export const Mutation = Schema.Struct({
  path: Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 40 }))).check(Schema.isMaxLength(6)),
  how: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 24 }))
})

const values: ReadonlyArray<unknown> = [
  null,
  undefined,
  true,
  0,
  -1,
  1.5,
  1e308,
  Number.MAX_SAFE_INTEGER,
  "",
  "x",
  "\0",
  "💥".repeat(300),
  "a".repeat(100_000),
  "255.255.255.255",
  "::",
  "1.2.3.4:99999",
  [],
  {},
  Array.from({ length: 2_000 }, () => "x"),
  { type: "internet" },
  { __proto__: null, constructor: 1 },
  JSON.parse('{"__proto__":{"polluted":true}}'),
  [[[[[[[[[[]]]]]]]]]],
  "null",
  "../../etc/passwd"
]

export const mutate = (value: unknown, mutation: typeof Mutation.Type): unknown =>
  change(value, mutation.path, mutation)

const change = (value: unknown, path: ReadonlyArray<number>, mutation: typeof Mutation.Type): unknown => {
  const [at, ...rest] = path
  if (at === undefined || typeof value !== "object" || value === null) return values[mutation.how % values.length]
  if (Array.isArray(value)) {
    if (value.length === 0) return [values[mutation.how % values.length]]
    return value.map((item, i) => (i === at % value.length ? change(item, rest, mutation) : item))
  }
  const keys = Object.keys(value)
  if (keys.length === 0) return values[mutation.how % values.length]
  const key = keys[at % keys.length]!
  const copy: Record<string, unknown> = { ...value }
  const next = change(copy[key], rest, mutation)
  if (next === undefined) delete copy[key]
  else copy[key] = next
  return copy
}
