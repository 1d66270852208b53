import * as Schema from "effect/Schema"
import { ReloadReport } from "../control/Registry.ts"
import { askGateway } from "./ControlClient.ts"

/** What a reload came to, and of which file. */
export const ReloadAnswer = Schema.Struct({
  ...ReloadReport.fields,
  /** The path of the file that was read, links followed; `null`: the program around the gateway has read something else. */
  file: Schema.NullOr(Schema.String)
})
export type ReloadAnswer = typeof ReloadAnswer.Type

/** A large file takes a while to be read. */
const withinMs = 60_000

/** Lets the gateway at the socket read its file anew. */
export const askReload = (socket: string) =>
  askGateway(socket, { method: "POST", path: "/v1/reload", withinMs }, ReloadAnswer)
