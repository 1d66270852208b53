import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Stream from "effect/Stream"
import { concat } from "../packet/bytes.ts"
import { maxFileLength } from "./GatewayConfig.ts"
import { parseConfig } from "./parseConfig.ts"
import { ConfigError } from "./problem.ts"
import { makeYamlReader } from "./yamlReader.ts"

/** Reads and checks a `sallyport.yaml`. */
export const readConfig = (file: string) => Effect.suspend(() => readConfigAgain(file))

/** The same as often as it is run: only what has changed since the last time is parsed anew. */
export const readConfigAgain = (file: string) => {
  const read = makeYamlReader()
  return Effect.gen(function* () {
    const text = yield* readBounded(file, "make it with sallyport init, or name another with --config")
    return yield* Effect.fromResult(parseConfig(text, file, read))
  }).pipe(Effect.withSpan("Config.read"))
}

/**
 * The text of a file of at most 1 MiB, or of a shell's pipe; every failure is one line with its fix. What is no file is not
 * opened: a named pipe without a writer, a terminal or a device would be waited for without end. `missing`: what to do where
 * there is none.
 */
export const readBounded = Effect.fnUntraced(function* (file: string, missing = "create it, or name another file") {
  const fs = yield* FileSystem.FileSystem
  const refused = (error: { readonly reason: { readonly _tag: string } }) =>
    error.reason._tag === "NotFound"
      ? new ConfigError({ message: `${file} does not exist — ${missing}` })
      : unreadable(file, error.reason._tag)
  const { type } = yield* fs.stat(file).pipe(Effect.mapError(refused))
  // A shell's pipe (`<(…)`) has no name in the file system.
  const named = type !== "FIFO" || (yield* Effect.isSuccess(fs.realPath(file)))
  if (type !== "File" && named) return yield* unreadable(file, type)
  const chunks = yield* fs
    .stream(file, { bytesToRead: maxFileLength + 1 })
    .pipe(
      Stream.runCollect,
      Effect.mapError(refused),
      Effect.timeoutOrElse({ duration: pipeTime, orElse: () => unreadable(file, "Silent") })
    )
  const size = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
  if (size > maxFileLength) {
    return yield* new ConfigError({ message: `${file} is larger than 1 MiB — is this the right file?` })
  }
  const text = decodeText(concat(chunks))
  if (text === null) return yield* new ConfigError({ message: `${file} is not UTF-8 text — is this the right file?` })
  return text
})

/** UTF-8, or UTF-16 as Windows programs write it, without a byte order mark; `null` for anything else. */
const decodeText = (bytes: Uint8Array): string | null => {
  const [first = -1, second = -1] = bytes
  const bigEndian = (first === 0xfe && second === 0xff) || (first === 0 && second > 0)
  const littleEndian = (first === 0xff && second === 0xfe) || (first > 0 && second === 0)
  const encoding = bigEndian ? "utf-16be" : littleEndian ? "utf-16le" : "utf-8"
  try {
    return new TextDecoder(encoding, { fatal: true }).decode(bytes)
  } catch {
    return null
  }
}

/** A pipe says what it has to say within this time. */
const pipeTime = "10 seconds"

const unreadable = (file: string, reason: string): ConfigError => {
  switch (reason) {
    case "Directory":
      return new ConfigError({ message: `${file} is a directory — name the file in it` })
    case "FIFO":
    case "Socket":
    case "CharacterDevice":
    case "BlockDevice":
      return new ConfigError({ message: `${file} is ${kinds[reason]}, not a file — name a file` })
    case "Silent":
      return new ConfigError({ message: `nothing came through the pipe ${file} for 10 s — name a file` })
    case "PermissionDenied":
      return new ConfigError({ message: `${file} may not be read — run as root, or change its owner or mode` })
    default:
      return new ConfigError({ message: `${file} cannot be read (${reason}) — check the path` })
  }
}

const kinds = {
  FIFO: "a named pipe",
  Socket: "a socket",
  CharacterDevice: "a device",
  BlockDevice: "a disk"
} as const
