/** External commands of the lab: each with a time-out, each result a value. */
import { spawn } from "node:child_process"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { type CommandOptions, type CommandResult, LabError } from "../../src/lab/demo/Lab.ts"

const maxOutput = 4 * 1024 * 1024

/** Runs a command to its end; any exit code is a result. Interruption and time-out kill it. */
export const attemptCommand = (
  command: ReadonlyArray<string>,
  options: CommandOptions = {}
): Effect.Effect<CommandResult, LabError> => {
  const timeout = Duration.fromInputUnsafe(options.timeout ?? "10 seconds")
  return Effect.callback<CommandResult, LabError>((resume) => {
    const [program = "", ...parameters] = command
    const child = spawn(program, parameters, {
      stdio: ["pipe", "pipe", "pipe"],
      env: { ...process.env, ...options.env }
    })
    let stdout = ""
    let stderr = ""
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
      if (stdout.length < maxOutput) stdout += chunk
    })
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
      if (stderr.length < maxOutput) stderr += chunk
    })
    child.on("error", (error) => {
      resume(Effect.fail(new LabError({ message: `cannot run ${shown(command)}: ${error.message}` })))
    })
    child.on("close", (code) => resume(Effect.succeed({ code: code ?? -1, stdout, stderr })))
    child.stdin.on("error", () => {})
    child.stdin.end(options.input ?? "")
    return Effect.sync(() => void child.kill("SIGKILL"))
  }).pipe(
    Effect.timeoutOrElse({
      duration: timeout,
      orElse: () =>
        Effect.fail(new LabError({ message: `no end of ${shown(command)} within ${Duration.toMillis(timeout)} ms` }))
    })
  )
}

/** The same, but another exit code than 0 is an error that quotes what the command complained about. */
export const runCommand = (
  command: ReadonlyArray<string>,
  options: CommandOptions = {}
): Effect.Effect<string, LabError> =>
  Effect.flatMap(attemptCommand(command, options), ({ code, stderr, stdout }) => {
    if (code === 0) return Effect.succeed(stdout)
    const complaint = firstLine(stderr) ?? firstLine(stdout) ?? "no output"
    return Effect.fail(new LabError({ message: `${shown(command)} ended with code ${code}: ${complaint}` }))
  })

const shown = (command: ReadonlyArray<string>): string => `"${command.join(" ").slice(0, 200)}"`

const firstLine = (text: string): string | undefined => text.trim().split("\n")[0] || undefined
