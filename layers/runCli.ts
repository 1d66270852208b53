import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Cause from "effect/Cause"
import * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Runtime from "effect/Runtime"
import { cli } from "../src/cli/cli.ts"
import type { Failure, Programs } from "../src/cli/Programs.ts"
import * as Keys from "./cli/Keys.ts"
import * as StatusSocket from "./cli/StatusSocket.ts"
import { version } from "./host/version.ts"

/**
 * Runs the command line as the process: exit code 0 (also on SIGTERM, SIGINT and SIGHUP, after everything is undone) or
 * 1 after one clear line on standard error. Logs go to standard error. `programs` is built for every command, so it
 * should do its work inside the programs.
 */
export const runCli = (argv: ReadonlyArray<string>, programs: Layer.Layer<Programs, Failure>): void => {
  const services = Layer.mergeAll(NodeServices.layer, programs, StatusSocket.layerClient, Keys.layer)
  const logger = Logger.layer([Logger.withConsoleError(Logger.formatLogFmt)])
  // Node's default for a lost terminal is to die at once; the gateway has things to undo.
  process.once("SIGHUP", () => process.kill(process.pid, "SIGTERM"))
  Command.runWith(cli, { version })(argv).pipe(
    Effect.provide(services),
    Effect.tapCause(explain),
    Effect.provide(logger),
    NodeRuntime.runMain({ disableErrorReporting: true, teardown })
  )
}

const teardown: Runtime.Teardown = (exit, onExit) =>
  Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause) ? onExit(0) : Runtime.defaultTeardown(exit, onExit)

/** Says once, in plain words, why the command failed; usage errors have been shown with the help already. */
const explain = (cause: Cause.Cause<Failure | CliError.CliError>): Effect.Effect<void> => {
  if (Cause.hasInterruptsOnly(cause)) return Effect.void
  const error = Cause.squash(cause)
  if (CliError.isCliError(error)) return Effect.void
  const message =
    typeof error === "object" && error !== null && "message" in error ? String(error.message) : String(error)
  if (cause.reasons.some((reason) => reason._tag === "Fail")) {
    // Lines that begin with a place in a file stay as they are, for editors that follow them.
    return Console.error(/^\S+:\d+:\d+: /.test(message) ? message : `sallyport: ${message}`)
  }
  return Console.error(`sallyport: internal error: ${message} — please report it; --log-level debug shows more`).pipe(
    Effect.andThen(Effect.logDebug(cause))
  )
}
