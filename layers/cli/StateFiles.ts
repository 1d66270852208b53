import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import { load } from "../../src/cli/load.ts"
import { StateFiles } from "../../src/cli/StateFiles.ts"
import { StateError } from "../../src/host/StateStore.ts"

export const layer: Layer.Layer<StateFiles> = Layer.succeed(StateFiles, {
  backup: Effect.fnUntraced(function* (stateDir, file, options) {
    const { backupState } = yield* load(() => import("../host/stateBackup.ts"))
    return yield* backupState(stateDir, file, options)
  }),
  restore: Effect.fnUntraced(function* (stateDir, file) {
    const { restoreState } = yield* load(() => import("../host/stateBackup.ts"))
    return yield* Effect.scoped(restoreState(stateDir, file))
  }),
  importNames: Effect.fnUntraced(function* (config, other, file, options) {
    const { importState } = yield* load(() => import("../host/importState.ts"))
    const { readKept } = yield* load(() => import("../shared/keptPolicy.ts"))
    const { withPolicy } = yield* load(() => import("../../src/config/sitePolicy.ts"))
    // Who its clients are the site says, where it has said so.
    const kept = config.state === null ? null : yield* readKept(config.stateDir)
    const inForce =
      kept === null ? Result.succeed(config) : withPolicy(config, kept.text, `policy ${kept.version} of the site`)
    if (Result.isFailure(inForce)) {
      const [first = ""] = inForce.failure.message.split("\n")
      return yield* new StateError({ message: `nothing is taken over: ${first}` })
    }
    return yield* Effect.scoped(importState(inForce.success, other, file, options))
  })
})
