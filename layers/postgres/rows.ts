/** Rows of a site, which are strangers': what makes no sense is left out, and told. */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { oneLine } from "./explainSql.ts"

const Slot = Schema.Int.check(Schema.isGreaterThan(0))
/** Of a name in its longest form, each byte of it as `\DDD`. */
const maxText = 1_024
/** Printable ASCII, as all names are that gateways give. */
const Name = Schema.String.check(Schema.isPattern(/^[ -~]*$/), Schema.isMaxLength(maxText))
/** A column in a query: no more of it comes than shows that it is too long. */
export const bounded = (column: string) => `left(${column}, ${maxText + 1})`

export const Entry = Schema.Struct({ domain: Name, slot: Slot })
export const Change = Schema.Struct({
  client: Name,
  slot: Slot,
  domain: Name,
  resource: Name,
  last_used: Schema.Finite,
  gone: Schema.Boolean
})

const Numbered = Schema.Struct({ no: Schema.Int })
export const decodeNumber = Schema.decodeUnknownEffect(Numbered)

/** `tell` gets what is wrong with one, in one line. */
export const decodeAll = Effect.fnUntraced(function* <A>(
  schema: Schema.Codec<A, A>,
  rows: ReadonlyArray<unknown>,
  tell: (problem: string) => Effect.Effect<void>
) {
  const decode = Schema.decodeUnknownResult(schema)
  const all: Array<A> = []
  for (const row of rows) {
    const decoded = decode(row)
    if (Result.isSuccess(decoded)) all.push(decoded.success)
    else yield* tell(oneLine(decoded.failure.message))
  }
  return all
})
