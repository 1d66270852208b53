import * as fs from "node:fs/promises"
import * as Effect from "effect/Effect"

/** Hosts files of people who block names in them have a few MiB. */
const longest = 64n << 20n

/**
 * The parsed contents of a file, read again when it has changed (its modification time, size or inode). Fails with the
 * error's code when it cannot be read.
 */
export const watchedFile = <A>(path: string, parse: (text: string) => A | Promise<A>): Effect.Effect<A, string> => {
  let known: { readonly version: string; readonly value: A } | null = null
  /** Whoever comes meanwhile has what it comes to: on a mount that is dead each further one would hold a thread for ever. */
  let reading: Promise<A> | null = null
  const read = async (): Promise<A> => {
    const info = await fs.stat(path, { bigint: true })
    // What is no file would be waited for, or never end.
    if (!info.isFile()) throw Object.assign(new Error(), { code: "not a file" })
    if (info.size > longest) throw Object.assign(new Error(), { code: "too long" })
    const { mtimeNs, size, ino } = info
    const version = `${mtimeNs} ${size} ${ino}`
    if (known?.version !== version) known = { version, value: await parse(await fs.readFile(path, "utf8")) }
    return known.value
  }
  return Effect.tryPromise({
    try: () => (reading ??= read().finally(() => void (reading = null))),
    catch: (error) => (error instanceof Error && "code" in error ? String(error.code) : String(error))
  })
}
