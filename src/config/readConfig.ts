import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Stream from "effect/Stream"
import { concat } from "../packet/bytes.ts"
import { parseConfig } from "./parseConfig.ts"
import { ConfigError } from "./problem.ts"
import { maxFileLength } from "./yamlSource.ts"

/** Reads and checks a `sallyport.yaml`. */
export const readConfig = Effect.fn("Config.read")(function* (file: string) {
  const text = yield* readBounded(file)
  return yield* Effect.fromResult(parseConfig(text, file))
})

/** The text of a file (or pipe) of at most 1 MiB; every failure is one line with its fix. */
export const readBounded = Effect.fnUntraced(function* (file: string) {
  const fs = yield* FileSystem.FileSystem
  const chunks = yield* fs.stream(file, { bytesToRead: maxFileLength + 1 }).pipe(
    Stream.runCollect,
    Effect.catch((error) =>
      fs.stat(file).pipe(
        Effect.map((info) => (info.type === "Directory" ? "Directory" : error.reason._tag)),
        Effect.orElseSucceed(() => error.reason._tag),
        Effect.flatMap((reason) => unreadable(file, reason))
      )
    )
  )
  const size = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
  if (size > maxFileLength) {
    return yield* new ConfigError({ message: `${file} is larger than 1 MiB — is this the right file?` })
  }
  return yield* Effect.try({
    try: () => new TextDecoder("utf-8", { fatal: true }).decode(concat(chunks)),
    catch: () => new ConfigError({ message: `${file} is not UTF-8 text — is this the right file?` })
  })
})

const unreadable = (file: string, reason: string): ConfigError => {
  switch (reason) {
    case "Directory":
      return new ConfigError({ message: `${file} is a directory — name the file in it` })
    case "NotFound":
      return new ConfigError({ message: `${file} does not exist — create it, or name another file` })
    case "PermissionDenied":
      return new ConfigError({ message: `${file} may not be read — run as root, or change its owner or mode` })
    default:
      return new ConfigError({ message: `${file} cannot be read (${reason}) — check the path` })
  }
}
