import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { HostProbes } from "../../src/cli/HostProbes.ts"
import { load } from "../../src/cli/load.ts"

export const layer: Layer.Layer<HostProbes> = Layer.succeed(HostProbes, {
  host: Effect.fnUntraced(function* (wanted) {
    const { lookAtHost } = yield* load(() => import("../host/lookAtHost.ts"))
    return yield* lookAtHost(wanted)
  }),
  versions: Effect.gen(function* () {
    const { versions } = yield* load(() => import("../host/versions.ts"))
    return versions()
  }),
  servers: Effect.fnUntraced(function* (sets) {
    const { askServers } = yield* load(() => import("../dns/askServers.ts"))
    return yield* askServers(sets)
  })
})
