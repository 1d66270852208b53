import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { StatusReport } from "./statusReport.ts"

/** The status cannot be had or served; `message` is one line with cause and fix. */
export class StatusError extends Schema.TaggedError<StatusError>()("StatusError", { message: Schema.String }) {}

/** Asks a running gateway for its status over its control socket. */
export class StatusClient extends Context.Service<
  StatusClient,
  { readonly fetch: (socketPath: string) => Effect.Effect<StatusReport, StatusError> }
>()("sallyport/cli/StatusClient") {}
