import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { StatusReport } from "../../cli/statusReport.ts"
import { type Lab, LabError } from "./Lab.ts"

/** What every version of the report has: a gateway of an old commit is asked, too. */
const AnyReport = Schema.Struct({ gateway: Schema.Struct({ publicKey: Schema.String }) })

const ask =
  <A>(report: Schema.Codec<A, unknown>) =>
  (lab: Lab["Service"], socket: string): Effect.Effect<A, LabError> =>
    lab.exec("gateway", [...lab.program("sallyport"), "status", "--json", "--socket", socket]).pipe(
      Effect.flatMap(Schema.decodeUnknownEffect(Schema.fromJsonString(report))),
      Effect.mapError((error) => new LabError({ message: `status: ${error.message}` }))
    )

/** What `sallyport status --json` says at a gateway's control socket. */
export const statusAt = ask(StatusReport)

/** The key that clients have to expect there. */
export const publicKeyAt = (lab: Lab["Service"], socket: string): Effect.Effect<string, LabError> =>
  Effect.map(ask(AnyReport)(lab, socket), ({ gateway }) => gateway.publicKey)
