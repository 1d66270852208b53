/** `PresenceStore` in PostgreSQL, over a connection of its own: what fills the other one holds no heartbeat up. */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import type { PostgresAddress } from "../../src/config/postgresAddress.ts"
import { makeOddities } from "../../src/loops/oddities.ts"
import { PresenceStore } from "../../src/shared/PresenceStore.ts"
import type { SharedStoreError } from "../../src/shared/SharedStore.ts"
import { keepConnected } from "./keepConnected.ts"
import { inheritFrom, meetSite, unwaited } from "./meetSite.ts"
import type { Session } from "./Session.ts"

/** A connection on which nobody says anything for longer is ended by the server. */
const idleMs = 2_000

export const layer = (address: PostgresAddress): Layer.Layer<PresenceStore, never, FileSystem.FileSystem> =>
  Layer.effect(
    PresenceStore,
    Effect.gen(function* () {
      const odd = makeOddities()
      const serve = Effect.fnUntraced(function* (session: Session): Effect.fn.Return<never, SharedStoreError> {
        for (;;) {
          yield* session.run(unwaited)
          // They are for the other connection; here they are not let heap up.
          yield* Effect.timeoutOrElse(session.notified, { duration: idleMs, orElse: () => Effect.void })
        }
      })
      const { run, status } = yield* keepConnected(address, { name: "PresenceStore.connection", serve, isTold: false })
      return PresenceStore.of({
        status,
        meet: (hello) =>
          run((at) => meetSite(hello, (problem) => odd("row", `PostgreSQL ${at}: a row is left out: ${problem}`))),
        inherit: (gateway, from) => run(() => inheritFrom(gateway, from))
      })
    })
  )
