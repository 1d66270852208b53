/** `PolicyStore` in PostgreSQL: over one connection, which is not made again. */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type * as Scope from "effect/Scope"
import type { PostgresAddress } from "../../src/config/postgresAddress.ts"
import type { PolicyStore } from "../../src/shared/PolicyStore.ts"
import type { SharedStoreError } from "../../src/shared/SharedStore.ts"
import { connect } from "./connect.ts"
import { migrate } from "./migrate.ts"
import { applyPolicy, newestPolicy, policyHolders } from "./policies.ts"

export const open = Effect.fnUntraced(function* (
  address: PostgresAddress
): Effect.fn.Return<PolicyStore, SharedStoreError, FileSystem.FileSystem | Scope.Scope> {
  const { at, run } = yield* connect(address)
  yield* run(migrate(at))
  const tell = (problem: string) => Effect.logWarning(`PostgreSQL ${at}: a row is left out: ${problem}`)
  return {
    newest: run(newestPolicy(tell)),
    apply: (policy) => run(applyPolicy(policy)),
    holders: run(policyHolders(tell))
  }
})
