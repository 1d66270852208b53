/** `NameFiles` without files. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { type FilesOfNames, NameFiles, noNameFiles } from "../../src/host/NameFiles.ts"

export const layer = (
  files: Partial<FilesOfNames>,
  counters: Readonly<Record<string, number>> = {}
): Layer.Layer<NameFiles> => {
  const said = { ...noNameFiles, ...files }
  return Layer.succeed(NameFiles, {
    ...said,
    setLists: () => {},
    withLists: () => Effect.succeed(said),
    counters: Effect.succeed(counters)
  })
}

export const none: Layer.Layer<NameFiles> = layer({})
