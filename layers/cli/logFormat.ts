import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"

/** `json`: one JSON object per line on standard error. */
export const withLogFormat = (format: "human" | "json") =>
  format === "json"
    ? Effect.provide(Logger.layer([Logger.withConsoleError(Logger.formatJson)]))
    : <A, E, R>(effect: Effect.Effect<A, E, R>) => effect
