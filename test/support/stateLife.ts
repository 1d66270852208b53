/** Lives of a gateway's state on disk. */
import { Effect } from "effect"
import { join } from "node:path"
import * as Sqlite from "../../layers/host/StateStore.ts"
import { StateStore } from "../../src/host/StateStore.ts"

/** One life: opens the file, works, closes it. */
export const stateLife = <A, E, R>(path: string, work: (store: StateStore["Service"]) => Effect.Effect<A, E, R>) =>
  Effect.provide(Effect.flatMap(StateStore, work), Sqlite.layer(path), { local: true })

/** The same of the file in a state directory. */
export const stateLifeIn = <A, E, R>(
  directory: string,
  work: (store: StateStore["Service"]) => Effect.Effect<A, E, R>
) => stateLife(join(directory, "state.db"), work)
