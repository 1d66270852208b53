import { hostname, userInfo } from "node:os"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { load } from "../../src/cli/load.ts"
import { PolicyStores } from "../../src/shared/PolicyStore.ts"
import { SharedStoreError } from "../../src/shared/SharedStore.ts"

export const layer: Layer.Layer<PolicyStores> = Layer.succeed(PolicyStores, {
  open: (address) =>
    load(() => import("../postgres/PolicyStore.ts")).pipe(
      Effect.mapError(({ message }) => new SharedStoreError({ reason: "Failed", message })),
      Effect.flatMap(({ open }) => open(address)),
      Effect.provide(NodeFileSystem.layer)
    ),
  author: Effect.sync(() => `${nameOf(userInfo)}@${hostname()}`.replaceAll(/[^ -~]/g, "?").slice(0, 256))
})

/** Not everybody has an entry. */
const nameOf = (user: typeof userInfo): string => {
  try {
    return process.env["SUDO_USER"] ?? user().username
  } catch {
    return "somebody"
  }
}
