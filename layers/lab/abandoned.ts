/** What labs leave whose process was killed before it could clean up: found by the process id in its name. */
import { existsSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import type { LabError } from "../../src/lab/demo/Lab.ts"
import { attemptCommand } from "./command.ts"

/** Ends what still runs in a namespace, then removes it; never fails, since it cleans up. */
export const removeNamespace = (namespace: string): Effect.Effect<void> =>
  attemptCommand(["ip", "netns", "pids", namespace]).pipe(
    Effect.tap(({ stdout }) =>
      Effect.sync(() => {
        for (const pid of stdout.split("\n").map(Number)) if (pid > 1 && pid !== process.pid) killQuietly(pid)
      })
    ),
    Effect.andThen(attemptCommand(["ip", "netns", "delete", namespace])),
    Effect.ignore
  )

/** Removes the hosts and files of labs whose process is gone. */
export const removeAbandoned: Effect.Effect<void, LabError> = Effect.gen(function* () {
  const { stdout } = yield* attemptCommand(["ip", "netns", "list"])
  for (const line of stdout.split("\n")) {
    const [namespace] = line.split(" ")
    if (namespace !== undefined && isAbandoned(namespace)) yield* removeNamespace(namespace)
  }
  yield* Effect.sync(() => {
    for (const name of readdirSync(tmpdir())) {
      if (isAbandoned(name)) rmSync(join(tmpdir(), name), { recursive: true, force: true })
    }
  })
})

const isAbandoned = (name: string): boolean => {
  const owner = /^sallyport-lab-(\d+)-\d+-/.exec(name)?.[1]
  return owner !== undefined && !existsSync(`/proc/${owner}`)
}

const killQuietly = (pid: number): void => {
  try {
    process.kill(pid, "SIGKILL")
  } catch {
    // Ended by itself in the meantime.
  }
}
