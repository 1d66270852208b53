import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { load } from "../../src/cli/load.ts"
import { StateFiles } from "../../src/cli/StateFiles.ts"

export const layer: Layer.Layer<StateFiles> = Layer.succeed(StateFiles, {
  backup: Effect.fnUntraced(function* (stateDir, file, options) {
    const { backupState } = yield* load(() => import("../host/stateBackup.ts"))
    return yield* backupState(stateDir, file, options)
  }),
  restore: Effect.fnUntraced(function* (stateDir, file) {
    const { restoreState } = yield* load(() => import("../host/stateBackup.ts"))
    return yield* Effect.scoped(restoreState(stateDir, file))
  })
})
