import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { readBounded } from "../config/readConfig.ts"
import { ConfigError } from "../config/problem.ts"

/** How long another command may take for its own edit: tries, 100 ms apart. */
const maxTries = 30

/**
 * Puts another text in the place of a file's: as a whole or not at all, with the same owner and mode, through a symbolic link.
 * Edits of several commands follow each other: the new text is written to `FILE.edit`, which only one of them can make.
 */
export const editFile = Effect.fnUntraced(function* <A, E, R>(
  path: string,
  edit: (text: string) => Effect.Effect<{ readonly text: string; readonly result: A }, E, R>
) {
  const fs = yield* FileSystem.FileSystem
  // For its messages about what is no file.
  yield* readBounded(path, "make it with sallyport init, or name another with --config")
  const cannot = (error: { readonly reason: { readonly _tag: string } }) =>
    new ConfigError({
      message: `${path} cannot be changed (${error.reason._tag}) — run as its owner, and look at its directory`
    })
  const file = yield* Effect.mapError(fs.realPath(path), cannot)
  const draft = `${file}.edit`
  const take = fs.writeFileString(draft, "", { flag: "wx", mode: 0o600 }).pipe(
    Effect.retry({
      while: (error) => error.reason._tag === "AlreadyExists",
      schedule: Schedule.spaced("100 millis"),
      times: maxTries
    }),
    Effect.mapError((error) =>
      error.reason._tag === "AlreadyExists"
        ? new ConfigError({ message: `another command is changing ${path} — remove ${draft} if there is none` })
        : cannot(error)
    )
  )
  let placed = false
  return yield* Effect.acquireUseRelease(
    take,
    () =>
      Effect.gen(function* () {
        const info = yield* Effect.mapError(fs.stat(file), cannot)
        const before = yield* readBounded(path)
        if (BigInt(new TextEncoder().encode(before).length) !== info.size) {
          return yield* new ConfigError({ message: `${path} is not plain UTF-8 — save it as that, without a mark` })
        }
        const { result, text } = yield* edit(before)
        yield* Effect.gen(function* () {
          yield* fs.writeFileString(draft, text)
          const owner = [Option.getOrElse(info.uid, () => 0), Option.getOrElse(info.gid, () => 0)] as const
          yield* fs.chown(draft, ...owner)
          yield* fs.chmod(draft, info.mode & 0o7777)
          yield* Effect.scoped(Effect.flatMap(fs.open(draft), (opened) => opened.sync))
          yield* fs.rename(draft, file)
          placed = true
        }).pipe(Effect.mapError(cannot), Effect.uninterruptible)
        return result
      }),
    () => (placed ? Effect.void : Effect.ignore(fs.remove(draft)))
  )
})
