/** `SharedStore` in PostgreSQL: keeps one connection to the host that may be written to, whatever comes. */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import type { PostgresAddress } from "../../src/config/postgresAddress.ts"
import { monotonicMillis } from "../../src/loops/monotonic.ts"
import { makeOddities } from "../../src/loops/oddities.ts"
import { superviseForever } from "../../src/loops/superviseForever.ts"
import { maxWritten, SharedStore, SharedStoreError, type SharedStoreStatus } from "../../src/shared/SharedStore.ts"
import { connect } from "./connect.ts"
import { migrate } from "./migrate.ts"
import { readSite } from "./readSite.ts"
import { headOf, prune } from "./revisions.ts"
import type { Session, Work } from "./Session.ts"
import { signIn } from "./signIn.ts"
import { extendDirectory, leaseBlock, writeMappings } from "./writeSite.ts"

/** From the first attempt to connect again to later ones, doubled each time. */
const firstPauseMs = 250
const longestPauseMs = 5_000
/** A connection that has lived so long was no failed attempt. */
const settledMs = 10_000
/** An idle connection has to answer so often: this is how one that is dead is noticed. */
const idleMs = 1_000
const pruneMs = 600_000

type State =
  | { readonly _tag: "Connected"; readonly session: Session; readonly sinceMs: number }
  | Extract<SharedStoreStatus, { readonly _tag: "Away" }>

export const layer = (address: PostgresAddress): Layer.Layer<SharedStore, never, FileSystem.FileSystem> =>
  Layer.effect(
    SharedStore,
    Effect.gen(function* () {
      const news = yield* Queue.sliding<void>(1)
      const odd = makeOddities()
      const lost = makeOddities()
      /** What was told of the connection since it was there last. */
      let told: SharedStoreError["reason"] | null = null
      let state: State = {
        _tag: "Away",
        error: new SharedStoreError({
          reason: "Unreachable",
          message: "PostgreSQL: not connected yet — wait a moment"
        }),
        sinceMs: yield* monotonicMillis
      }

      const serve = Effect.fnUntraced(function* (session: Session): Effect.fn.Return<never, SharedStoreError> {
        let head = 0
        let pruned = yield* monotonicMillis
        for (;;) {
          const found = yield* session.run(headOf)
          if (found.head !== head) yield* Queue.offer(news, undefined)
          head = found.head
          yield* Effect.timeoutOrElse(session.notified, { duration: idleMs, orElse: () => Effect.void })
          const now = yield* monotonicMillis
          if (now - pruned < pruneMs) continue
          yield* session.run(prune)
          pruned = now
        }
      })

      const lived = Effect.gen(function* () {
        const session = yield* connect(address)
        yield* session.run(migrate(session.at))
        const sinceMs = yield* monotonicMillis
        yield* Effect.logInfo(`PostgreSQL ${session.at}: connected`)
        told = null
        state = { _tag: "Connected", session, sinceMs }
        return yield* Effect.raceFirst(serve(session), session.ended)
      }).pipe(Effect.scoped)

      let pauseMs = firstPauseMs
      const turn = Effect.gen(function* () {
        const error = yield* Effect.flip(lived)
        const now = yield* monotonicMillis
        if (state._tag === "Connected" && now - state.sinceMs > settledMs) pauseMs = firstPauseMs
        state = { _tag: "Away", error, sinceMs: state._tag === "Connected" ? now : state.sinceMs }
        if (error.reason !== told) {
          yield* lost(error.reason, `${error.message}; meanwhile this gateway goes on with what it knows`)
        }
        told = error.reason
        yield* Effect.sleep(pauseMs * (0.8 + 0.4 * (yield* Random.next)))
        pauseMs = Math.min(pauseMs * 2, longestPauseMs)
      })
      yield* Effect.forkScoped(superviseForever("SharedStore.connection", turn))

      const run = <A>(work: (at: string) => Work<A>): Effect.Effect<A, SharedStoreError> =>
        Effect.suspend(() =>
          state._tag === "Connected" ? state.session.run(work(state.session.at)) : Effect.fail(state.error)
        )
      const tellOfRow = (at: string) => (problem: string) =>
        odd("row", `PostgreSQL ${at}: a row is left out: ${problem}`)
      return SharedStore.of({
        status: Effect.sync((): SharedStoreStatus => {
          if (state._tag === "Away") return state
          return { _tag: "Connected", at: state.session.at, sinceMs: state.sinceMs }
        }),
        news,
        signIn: (gateway) => run((at) => signIn(at, gateway)),
        lease: (gateway, count) => run(() => leaseBlock(gateway, count)),
        write: (changes) =>
          changes.length > maxWritten
            ? Effect.die(new Error(`${changes.length} changes at once`))
            : run(() => writeMappings(changes)),
        extendDirectory: (extend) => run((at) => extendDirectory(extend, tellOfRow(at))),
        read: (gateway, after) => run((at) => readSite(gateway, after, tellOfRow(at)))
      })
    })
  )
