/** Long-running child processes of the lab: their lines, their end, and their certain removal. */
import { type ChildProcess, spawn } from "node:child_process"
import { constants } from "node:os"
import { createInterface } from "node:readline"
import type * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import { LabError, type LabProcess } from "../../src/lab/demo/Lab.ts"

const keptLines = 400

/** Starts a command; closing the scope stops it: SIGTERM, and SIGKILL after 5 seconds. */
export const startProcess = (
  command: ReadonlyArray<string>,
  env: Readonly<Record<string, string>> = {}
): Effect.Effect<LabProcess, LabError, Scope.Scope> =>
  Effect.acquireRelease(launch(command, env), (child) => child.stop)

const launch = Effect.fnUntraced(function* (command: ReadonlyArray<string>, env: Readonly<Record<string, string>>) {
  const [program = "", ...parameters] = command
  const lines = yield* Queue.sliding<string, Cause.Done>(10_000)
  const ended = yield* Deferred.make<number>()
  const tail: Array<string> = []
  const remember = (line: string): void => {
    tail.push(line)
    if (tail.length > keptLines) tail.shift()
  }

  const child = yield* Effect.callback<ChildProcess, LabError>((resume) => {
    const started = spawn(program, parameters, { stdio: ["pipe", "pipe", "pipe"], env: { ...process.env, ...env } })
    started.on("spawn", () => resume(Effect.succeed(started)))
    started.on("error", (error) =>
      resume(Effect.fail(new LabError({ message: `cannot start "${program}": ${error.message}` })))
    )
    started.stdin.on("error", () => {})
    createInterface({ input: started.stderr }).on("line", remember)
    createInterface({ input: started.stdout })
      .on("line", (line) => {
        remember(line)
        Queue.offerUnsafe(lines, line)
      })
      .on("close", () => void Queue.endUnsafe(lines))
    started.on("exit", (code, signal) => {
      const status = code ?? 128 + (signal === null ? 0 : constants.signals[signal])
      Deferred.doneUnsafe(ended, Effect.succeed(status))
    })
  })

  const signal = (name: "SIGTERM" | "SIGKILL"): Effect.Effect<void> =>
    Effect.sync(() => {
      if (child.exitCode === null && child.signalCode === null) child.kill(name)
    })
  const exit = Deferred.await(ended)
  const kill = Effect.andThen(signal("SIGKILL"), exit)
  const stop = signal("SIGTERM").pipe(
    Effect.andThen(Effect.timeoutOption(exit, "5 seconds")),
    Effect.flatMap((code) => (Option.isSome(code) ? Effect.succeed(code.value) : kill))
  )
  return {
    pid: child.pid ?? -1,
    lines: Queue.asDequeue(lines),
    send: (line) => Effect.sync(() => void child.stdin?.write(`${line}\n`)),
    output: Effect.sync(() => tail.join("\n")),
    exit,
    stop,
    kill
  } satisfies LabProcess
})
