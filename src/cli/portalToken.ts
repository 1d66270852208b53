import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import { defaultConfigPath } from "../config/defaultPaths.ts"
import { load } from "./load.ts"

/** The token of the portal that this gateway belongs to; `null` where a configuration file says what it does. */
export const portalToken = Effect.fnUntraced(function* (file: string) {
  const { readToken } = yield* load(() => import("../config/firezoneConfig.ts"))
  const token = yield* readToken
  if (token === null || file !== defaultConfigPath) return null
  const fs = yield* FileSystem.FileSystem
  if (!(yield* fs.exists(file).pipe(Effect.orElseSucceed(() => false)))) return token
  yield* Effect.logWarning(`FIREZONE_TOKEN is not used: ${file} makes this a gateway of its own; remove one of the two`)
  return null
})
