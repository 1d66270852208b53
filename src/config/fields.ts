/** Single fields of a YAML file as schemas, whose complaints `issueProblems` can place. */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaGetter from "effect/SchemaGetter"
import * as SchemaIssue from "effect/SchemaIssue"
import { quote } from "./problem.ts"
import { suggestFix } from "./suggest.ts"
import type { Parsed } from "./values.ts"

/** A codec from what YAML gives to a checked value; its complaint travels in the issue's annotations. */
const parsed = <A, E>(from: Schema.Codec<E>, parse: (value: E) => Parsed<A>) =>
  from.pipe(
    Schema.decodeTo(
      Schema.declare((_value: unknown): _value is A => true),
      {
        decode: SchemaGetter.transformEffect((value: E) => {
          const result = parse(value)
          return Result.isSuccess(result)
            ? Effect.succeed(result.success)
            : Effect.fail(new SchemaIssue.InvalidValue({ message: result.failure.cause, fix: result.failure.fix }))
        }),
        encode: SchemaGetter.forbidden(() => "a configuration is never written back")
      }
    )
  )

/** A checked text. */
export const text = <A>(parse: (value: string) => Parsed<A>) => parsed(Schema.String, parse)

/** A whole number in bounds; `what` completes "… is not". */
export const whole = (what: string, from: number, to: number) =>
  parsed(Schema.Finite, (value) =>
    Number.isInteger(value) && value >= from && value <= to
      ? Result.succeed(value)
      : Result.fail({ cause: `${value} is not ${what}`, fix: `use a whole number from ${from} to ${to}` })
  )

/** One of a few words, each standing for a value. */
export const oneOf = <A>(choices: Readonly<Record<string, A>>) =>
  text((value): Parsed<A> => {
    const known = Object.keys(choices)
    return known.includes(value)
      ? Result.succeed(choices[value]!)
      : Result.fail({ cause: `${quote(value)} is not a choice here`, fix: suggestFix(value, known, "") })
  })
