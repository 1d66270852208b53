/** What a gateway of a site says of itself that is for people: nothing goes by it. */
import * as Schema from "effect/Schema"

const shortText = Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(64))

export const AboutGateway = Schema.Struct({
  /** Of the program. */
  version: shortText,
  /** What its host calls itself. */
  host: shortText,
  /** The version of the site's policy that it goes by; `null`: its own file's. */
  policy: Schema.NullOr(Schema.Int),
  /** When it last read all that the others told, in epoch milliseconds of the engine's clock; `null`: never yet. */
  readAt: Schema.NullOr(Schema.Finite)
})
export type AboutGateway = typeof AboutGateway.Type
