/** Short-lived helper programs (`ip`, `nft`): input in, output out, killed when they take too long or nobody waits. */
import { execFile } from "node:child_process"
import { existsSync } from "node:fs"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"

export class CommandFailed extends Data.TaggedError("CommandFailed")<{
  readonly command: string
  readonly kind: "missing" | "failed" | "timeout"
  /** What the program wrote to its standard error, first line. */
  readonly output: string
}> {}

/** Where the program is: system directories first, which a search path without `sbin` misses, then the search path. */
const findProgram = (name: string): string =>
  systemDirectories.map((directory) => `${directory}/${name}`).find((path) => existsSync(path)) ?? name

/** Standard output of the program; fails unless it exits with 0 within `timeoutMs` (default 10 s). */
export const runCommand = (
  command: string,
  args: ReadonlyArray<string>,
  options?: { readonly input?: string; readonly timeoutMs?: number }
): Effect.Effect<string, CommandFailed> =>
  Effect.callback((resume) => {
    const timeout = options?.timeoutMs ?? 10_000
    const child = execFile(
      findProgram(command),
      args,
      { timeout, killSignal: "SIGKILL", maxBuffer: 64 * 1024 * 1024, encoding: "utf8" },
      (error, stdout, stderr) => {
        if (error === null) return resume(Effect.succeed(stdout))
        const kind = error.code === "ENOENT" ? "missing" : error.killed === true ? "timeout" : "failed"
        const output = firstLine(stderr) ?? firstLine(error.message) ?? ""
        resume(Effect.fail(new CommandFailed({ command, kind, output })))
      }
    )
    // A program that ends early closes its input: that is told by its exit code.
    child.stdin?.on("error", () => {})
    child.stdin?.end(options?.input ?? "")
    return Effect.sync(() => void child.kill("SIGKILL"))
  })

const systemDirectories = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"]

const firstLine = (text: string): string | undefined =>
  text
    .split("\n")
    .map((line) => line.trim())
    .find((line) => line !== "")
