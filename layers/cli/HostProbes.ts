import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import { HostProbes } from "../../src/cli/HostProbes.ts"
import { load } from "../../src/cli/load.ts"

export const layer: Layer.Layer<HostProbes, never, FileSystem.FileSystem> = Layer.effect(
  HostProbes,
  Effect.map(FileSystem.FileSystem, (files) => ({
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
    }),
    siteHosts: Effect.fnUntraced(function* (address) {
      const { askHosts } = yield* load(() => import("../postgres/askHosts.ts"))
      return yield* Effect.provideService(askHosts(address), FileSystem.FileSystem, files)
    })
  }))
)
