import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { readBounded } from "../config/readConfig.ts"
import { concat } from "../packet/bytes.ts"
import { ConfigError } from "../config/problem.ts"

/** How long another command may take for its own edit: tries, 100 ms apart. */
const maxTries = 30
/** What some editors on Windows begin UTF-8 with, and readers leave out. */
const mark = [0xef, 0xbb, 0xbf]
/** An editor saves once; whatever writes the file more often than this is left to itself. */
const maxEdits = 5

/**
 * Puts another text in the place of a file's: as a whole or not at all, with the same owner and mode, through a symbolic link.
 * Edits of several commands follow each other: the new text is written to `FILE.edit`, which only one of them can make. What
 * somebody else saves meanwhile is edited in its turn, so `edit` may be called several times. `handOver` is called for the
 * edit that is about to take the file's place: where it fails nothing is changed.
 */
export const editFile = Effect.fnUntraced(function* <A, E, R>(
  path: string,
  edit: (text: string) => Effect.Effect<{ readonly text: string; readonly result: A }, E, R>,
  handOver: (result: A) => Effect.Effect<void, E, R> = () => Effect.void
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
  const turn = Effect.gen(function* () {
    const info = yield* Effect.mapError(fs.stat(file), cannot)
    const before = yield* readBounded(path)
    const bytes = yield* Effect.mapError(fs.readFile(file), cannot)
    if (bytes.includes(0)) {
      return yield* new ConfigError({ message: `${path} is not UTF-8, which this command keeps to — save it as that` })
    }
    if (new TextDecoder().decode(bytes) !== before) return null
    const marked = mark.every((byte, i) => bytes[i] === byte)
    const { result, text } = yield* edit(before)
    yield* Effect.gen(function* () {
      yield* fs.writeFile(draft, concat([new Uint8Array(marked ? mark : []), new TextEncoder().encode(text)]))
      const owner = [Option.getOrElse(info.uid, () => 0), Option.getOrElse(info.gid, () => 0)] as const
      yield* fs.chown(draft, ...owner)
      yield* fs.chmod(draft, info.mode & 0o7777)
      yield* Effect.scoped(Effect.flatMap(fs.open(draft), (opened) => opened.sync))
    }).pipe(Effect.mapError(cannot))
    if ((yield* readBounded(path)) !== before) return null
    yield* handOver(result)
    yield* fs
      .rename(draft, file)
      .pipe(Effect.andThen(Effect.sync(() => (placed = true))), Effect.mapError(cannot), Effect.uninterruptible)
    return { result }
  })
  return yield* Effect.acquireUseRelease(
    take,
    () =>
      turn.pipe(
        Effect.repeat({ until: (done) => done !== null, times: maxEdits - 1 }),
        Effect.flatMap((done) =>
          done === null
            ? Effect.fail(new ConfigError({ message: `${path} is being written all the time — stop what does it` }))
            : Effect.succeed(done.result)
        )
      ),
    () => (placed ? Effect.void : Effect.ignore(fs.remove(draft)))
  )
})
