import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { StatusReport } from "../../cli/statusReport.ts"
import { type Lab, LabError } from "./Lab.ts"

/** What the report of every version has: the benches ask gateways of old commits, too. */
const AnyReport = Schema.Struct({
  gateway: Schema.Struct({ publicKey: Schema.String }),
  counters: Schema.Struct({ resolutions: Schema.Record(Schema.String, Schema.Finite) })
})
export type AnyReport = typeof AnyReport.Type

const ask =
  <A>(report: Schema.Codec<A, unknown>) =>
  (lab: Lab["Service"], socket: string): Effect.Effect<A, LabError> =>
    lab.status(socket).pipe(
      Effect.flatMap(Schema.decodeUnknownEffect(Schema.fromJsonString(report))),
      Effect.mapError((error) => new LabError({ message: `status: ${error.message}` }))
    )

/** What a gateway says at its control socket. */
export const statusAt = ask(StatusReport)

/** The same of a gateway of any version. */
export const anyStatusAt = ask(AnyReport)
