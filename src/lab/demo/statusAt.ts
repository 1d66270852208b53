import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { StatusReport } from "../../cli/statusReport.ts"
import { type Lab, LabError } from "./Lab.ts"

const decode = Schema.decodeUnknownEffect(Schema.fromJsonString(StatusReport))

/** What `sallyport status --json` says at a gateway's control socket. */
export const statusAt = (lab: Lab["Service"], socket: string): Effect.Effect<StatusReport, LabError> =>
  lab
    .exec("gateway", [...lab.program("sallyport"), "status", "--json", "--socket", socket])
    .pipe(
      Effect.flatMap((text) =>
        Effect.mapError(decode(text), (error) => new LabError({ message: `status: ${error.message}` }))
      )
    )
