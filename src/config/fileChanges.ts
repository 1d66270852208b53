/** Tells when a file has become another, however it is written: in place, by a rename, or behind a symbolic link. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"

export interface FollowedFile {
  readonly path: string
  /** Another text whenever the file has become another. */
  readonly version: Effect.Effect<string>
  /** The one before the file was read last, for whatever reason, or that was told last. */
  known: string
}

/** To be had before the file is read: what changes from now on is told. */
export const followFile = Effect.fnUntraced(function* (
  path: string
): Effect.fn.Return<FollowedFile, never, FileSystem.FileSystem> {
  const fs = yield* FileSystem.FileSystem
  // Of the file itself, where the path leads over links.
  const version = fs.stat(path).pipe(
    Effect.map(({ dev, ino, mtime, size }) =>
      [dev, Option.getOrNull(ino), Number(Option.getOrNull(mtime)), size].join(" ")
    ),
    Effect.orElseSucceed(() => "gone")
  )
  return { path, version, known: yield* version }
})

/** Reads the file; what changes from now on is told, and nothing before. */
export const readFollowed = <A, E, R>(file: FollowedFile, read: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(file.version, (version) => {
    file.known = version
    return read
  })

const lookEvery = "500 millis"
/** Until it is asked again whether to look. */
const askEvery = "5 seconds"

/**
 * One element per change, once the file has been the same at two looks: editors write more than once. That it is gone is a
 * change too. It is not looked at while it is not `wanted`.
 */
export const fileChanges = (file: Omit<FollowedFile, "path">, wanted: () => boolean): Stream.Stream<void> =>
  Stream.suspend(() => {
    let seen: string | null = null
    const look = Effect.map(file.version, (now) => {
      const isSettled = now === seen
      seen = now
      if (!isSettled || now === file.known) return false
      file.known = now
      return true
    })
    const turn = Effect.suspend(() =>
      wanted() ? Effect.delay(look, lookEvery) : Effect.as(Effect.sleep(askEvery), false)
    )
    return Stream.fromEffectRepeat(turn).pipe(
      Stream.filter((isNew) => isNew),
      Stream.as(undefined)
    )
  })
