/** A site's gateway keeps its state as one without a site does, whatever becomes of its PostgreSQL. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as StateStoreLive from "../../../layers/host/StateStore.ts"
import * as SharedStateLive from "../../../layers/shared/SharedState.ts"
import * as SiteCopyLive from "../../../layers/shared/SiteCopy.ts"
import { StateStore } from "../../../src/host/StateStore.ts"
import { SiteCopy } from "../../../src/shared/SiteCopy.ts"
import { SharedState } from "../../../src/shared/SharedState.ts"
import { ofFile } from "../../support/ofFile.ts"
import { type Postgres, startPostgres } from "../../support/postgres.ts"
import { addressOf, live, onlySite, until } from "../../support/sharedStore.ts"
import { mapping, stateStoreContract } from "../../support/stateStoreContract.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(join(tmpdir(), "sallyport-site-"))),
  (path) => Effect.sync(() => fs.rmSync(path, { recursive: true }))
)

/** Each slot is the first gateway's. */
const zones = onlySite(
  { from: 0, to: 0 },
  (gateway) => (gateway === 0 ? { from: 0, to: 10_000 } : { from: 0, to: 0 }),
  () => ({ from: 0, to: 1 }),
  0
)

/** A gateway of a site with all that it keeps in the folder. */
const gatewayIn = (path: string, server: Postgres, database: string) =>
  Layer.unwrap(
    Effect.map(SiteCopy, ({ standing }) =>
      SharedStateLive.layer({
        id: path,
        held: standing,
        isOthers: () => false,
        ask: () => Effect.void,
        read: Effect.succeed(null)
      })
    )
  ).pipe(
    Layer.provide(
      Layer.mergeAll(
        StateStoreLive.layer(join(path, "state.db")),
        SiteCopyLive.layer(join(path, "site.db"), zones),
        live(addressOf(database, server))
      )
    )
  )

const isSignedIn = Effect.flatMap(SharedState, ({ standing }) =>
  until(Effect.map(standing, ({ gateway }) => gateway !== null))
)

for (const [what, becomes] of [
  ["is there", () => Effect.void],
  ["is gone", (server: Postgres) => server.kill],
  ["hangs", (server: Postgres) => server.suspend]
] as const) {
  describe(`StateStore of a gateway whose PostgreSQL ${what}`, () => {
    const site = ofFile(
      Effect.gen(function* () {
        const server = yield* startPostgres()
        const database = yield* server.database
        yield* becomes(server)
        return { server, database }
      })
    )

    stateStoreContract((work) =>
      Effect.scoped(
        Effect.flatMap(folder, (path) =>
          Effect.provide(work, gatewayIn(path, site.server, site.database), { local: true })
        )
      )
    )
  })
}

describe("a gateway of a site", { timeout: 60_000 }, () => {
  it.live("keeps names while PostgreSQL hangs, and another gateway has them when it goes on", () =>
    Effect.gen(function* () {
      const server = yield* startPostgres()
      const database = yield* server.database
      const [first, second] = [yield* folder, yield* folder]
      yield* Effect.provide(isSignedIn, gatewayIn(first, server, database), { local: true })

      yield* server.suspend
      yield* Effect.gen(function* () {
        const began = performance.now()
        yield* Effect.flatMap(StateStore, (state) => state.putMapping(mapping(1)))
        // Nothing of it waits for an answer.
        assert.isBelow(performance.now() - began, 1_000)
      }).pipe(Effect.provide(gatewayIn(first, server, database), { local: true }))
      yield* server.resume

      yield* Effect.provide(
        Effect.gen(function* () {
          yield* Effect.forkScoped(Effect.provide(Effect.never, gatewayIn(first, server, database), { local: true }))
          const { mappings } = yield* SharedState
          yield* until(Effect.map(mappings, (known) => known.length === 1))
          assert.deepStrictEqual(yield* mappings, [mapping(1)])
        }).pipe(Effect.scoped),
        gatewayIn(second, server, database),
        { local: true }
      )
    })
  )
})
