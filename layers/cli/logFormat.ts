import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import { printable } from "../../src/events/printable.ts"
import { layerLog } from "./runProcess.ts"

/** `json`: one JSON object per line on standard error; what it tells of the network commands no terminal. */
export const withLogFormat = (format: "human" | "json") =>
  format === "json"
    ? Effect.provide(Logger.layer([Logger.withConsoleError(Logger.map(Logger.formatJson, printable))]))
    : Effect.provide(layerLog)
