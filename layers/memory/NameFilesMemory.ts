/** `NameFiles` without files. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { NameFiles } from "../../src/host/NameFiles.ts"

export const none: Layer.Layer<NameFiles> = Layer.succeed(NameFiles, {
  hosts: () => undefined,
  hostOf: () => undefined,
  blocked: () => undefined,
  setLists: () => {},
  counters: Effect.succeed({})
})
