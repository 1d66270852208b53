/** Tells when a file has become another, however it is written: in place, by a rename, or behind a symbolic link. */
import { stat } from "node:fs/promises"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"

const lookEvery = "500 millis"

/**
 * One element per change, once the file has been the same at two looks: editors write more than once. That it is gone is a
 * change too. Begins with one, since the file may have changed before it was looked at.
 */
export const fileChanges = (path: string): Stream.Stream<void> =>
  Stream.suspend(() => {
    let told: string | null = null
    let seen: string | null = null
    const look = Effect.map(version(path), (now) => {
      const isSettled = now === seen
      seen = now
      if (!isSettled || now === told) return false
      told = now
      return true
    })
    return Stream.fromEffectRepeat(Effect.delay(look, lookEvery)).pipe(
      Stream.filter((isNew) => isNew),
      Stream.as(undefined)
    )
  })

/** Of the file itself, where the path leads over links. */
const version = (path: string): Effect.Effect<string> =>
  Effect.promise(async () => {
    try {
      const { dev, ino, mtimeNs, size } = await stat(path, { bigint: true })
      return [dev, ino, mtimeNs, size].join(" ")
    } catch {
      return "gone"
    }
  })
