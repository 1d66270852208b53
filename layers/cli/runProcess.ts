import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Logger from "effect/Logger"
import * as Runtime from "effect/Runtime"
import type { Failure } from "../../src/cli/Programs.ts"
import { printable } from "../../src/events/printable.ts"

/**
 * Runs a program as the process: exit code 0 (also on SIGTERM and SIGINT, after everything is undone) or 1 after
 * one clear line on standard error; no line for errors that the program has told itself. Logs go to standard error.
 */
export const runProcess = (
  program: Effect.Effect<void, Failure>,
  isTold: (error: unknown) => boolean = () => false
): void => {
  program.pipe(
    Effect.tapCause((cause) => (isTold(Cause.squash(cause)) ? Effect.void : explain(cause))),
    Effect.provide(layerLog),
    NodeRuntime.runMain({ disableErrorReporting: true, teardown })
  )
}

/** `key=value` lines on standard error. The format leaves some control characters as they are. */
export const layerLog = Logger.layer([Logger.withConsoleError(Logger.map(Logger.formatLogFmt, printable))])

const teardown: Runtime.Teardown = (exit, onExit) =>
  Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause) ? onExit(0) : Runtime.defaultTeardown(exit, onExit)

/** Says once, in plain words, why the program failed. */
const explain = (cause: Cause.Cause<Failure>): Effect.Effect<void> => {
  if (Cause.hasInterruptsOnly(cause)) return Effect.void
  const error = Cause.squash(cause)
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
