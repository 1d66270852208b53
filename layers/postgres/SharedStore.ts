/** `SharedStore` in PostgreSQL: keeps one connection to the host that may be written to, whatever comes. */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import type { PostgresAddress } from "../../src/config/postgresAddress.ts"
import { monotonicMillis } from "../../src/loops/monotonic.ts"
import { makeOddities } from "../../src/loops/oddities.ts"
import { maxWritten, SharedStore, type SharedStoreError } from "../../src/shared/SharedStore.ts"
import { keepConnected } from "./keepConnected.ts"
import { lookAtPolicy } from "./policies.ts"
import { readSite } from "./readSite.ts"
import { headOf, prune } from "./revisions.ts"
import type { Session } from "./Session.ts"
import { forgetGateway, signIn } from "./signIn.ts"
import { extendDirectory, leaseBlock, writeMappings } from "./writeSite.ts"

/** An idle connection has to answer so often: this is how one that is dead is noticed. */
const idleMs = 1_000
const pruneMs = 600_000

export const layer = (address: PostgresAddress): Layer.Layer<SharedStore, never, FileSystem.FileSystem> =>
  Layer.effect(
    SharedStore,
    Effect.gen(function* () {
      const news = yield* Queue.sliding<void>(1)
      const policyNews = yield* Queue.sliding<void>(1)
      const odd = makeOddities()

      const serve = Effect.fnUntraced(function* (session: Session): Effect.fn.Return<never, SharedStoreError> {
        let head = 0
        let pruned = yield* monotonicMillis
        for (;;) {
          const found = yield* session.run(headOf)
          if (found.head !== head) {
            yield* Queue.offer(policyNews, undefined)
            yield* Queue.offer(news, undefined)
          }
          head = found.head
          yield* Effect.timeoutOrElse(session.notified, { duration: idleMs, orElse: () => Effect.void })
          const now = yield* monotonicMillis
          if (now - pruned < pruneMs) continue
          yield* session.run(prune)
          pruned = now
        }
      })

      const { run, status } = yield* keepConnected(address, { name: "SharedStore.connection", serve, isTold: true })
      const tellOfRow = (at: string) => (problem: string) =>
        odd("row", `PostgreSQL ${at}: a row is left out: ${problem}`)
      return SharedStore.of({
        status,
        news,
        policyNews,
        lookAtPolicy: (look) => run((at) => lookAtPolicy(look, tellOfRow(at))),
        signIn: (gateway) => run((at) => signIn(at, gateway)),
        lease: (gateway, blocks) => run(() => leaseBlock(gateway, blocks)),
        write: (changes) =>
          changes.length > maxWritten
            ? Effect.die(new Error(`${changes.length} changes at once`))
            : run(() => writeMappings(changes)),
        forget: (gateway) => run(() => forgetGateway(gateway)),
        extendDirectory: (extend) => run((at) => extendDirectory(extend, tellOfRow(at))),
        read: (gateway, after) => run((at) => readSite(gateway, after, tellOfRow(at)))
      })
    })
  )
