/** The last line of every program that runs until it is told to stop: that it stops, and why. */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { Failure } from "../../src/cli/Programs.ts"
import { ServiceManager } from "../../src/host/ServiceManager.ts"

/** What a hang-up means: a program in a terminal that is gone ends, a service does not; it may have ears of its own for it. */
export type HangUp = "ends" | "heard" | { readonly stays: string }

/** Tells why what runs here ends, as long as nothing of it is undone yet. */
const Telling = Context.Reference<(why: string) => Effect.Effect<void>>("sallyport/cli/Telling", {
  defaultValue: () => Effect.logError
})

/** For what a program waits for while it runs: its failure is told before the clean-up, which may take a while. */
export const tellingFirst = <A, E extends { readonly message: string }, R>(running: Effect.Effect<A, E, R>) =>
  Effect.tapError(running, ({ message }) => Effect.flatMap(Telling, (tell) => tell(message)))

/**
 * Says why the program ends: a signal when it comes, a failure when it is known. Who reads the log may leave: without a
 * terminal or a pipe to write to the program goes on all the same.
 */
export const tellingWhy =
  (hangUp: HangUp) =>
  <A, R>(program: Effect.Effect<A, Failure, R>): Effect.Effect<A, Failure, R> =>
    Effect.gen(function* () {
      const run = Effect.runForkWith(yield* Effect.context())
      const manager = yield* ServiceManager
      let told = false
      const tell = (why: string, log = Effect.logInfo) =>
        Effect.suspend(() => {
          if (told) return Effect.void
          told = true
          const status = `stopping: ${why}`
          return Effect.andThen(log(status), manager?.tell({ state: "stopping", status }) ?? Effect.void)
        })
      const fail = (why: string) => tell(why, Effect.logError)
      const hungUp = (): void => {
        if (hangUp === "heard") return
        if (hangUp !== "ends") return void run(Effect.logInfo(`SIGHUP: ${hangUp.stays}`))
        run(tell("SIGHUP"))
        process.kill(process.pid, "SIGTERM")
      }
      const ended = (signal: NodeJS.Signals): void => void run(tell(signal))
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          process.on("SIGHUP", hungUp)
          for (const signal of signals) process.on(signal, ended)
          for (const output of [process.stdout, process.stderr]) output.on("error", nobodyReads)
        }),
        () =>
          Effect.sync(() => {
            process.off("SIGHUP", hungUp)
            for (const signal of signals) process.off(signal, ended)
          })
      )
      return yield* program.pipe(
        Effect.tapCause((cause) => (Cause.hasInterruptsOnly(cause) ? Effect.void : fail(reasonOf(cause)))),
        Effect.tap(() => tell("done")),
        Effect.provideService(Telling, fail)
      )
    }).pipe(Effect.scoped)

const signals = ["SIGTERM", "SIGINT"] as const

const nobodyReads = (): void => {}

const reasonOf = (cause: Cause.Cause<Failure>): string => {
  const error = Cause.squash(cause)
  const message = error instanceof Error || (typeof error === "object" && error !== null && "message" in error)
  return message ? String(error.message).split("\n", 1)[0]! : String(error)
}
