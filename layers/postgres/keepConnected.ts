/** One connection to the host of a site's PostgreSQL that may be written to, made again whenever it ends. */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import type { PostgresAddress } from "../../src/config/postgresAddress.ts"
import { monotonicMillis } from "../../src/loops/monotonic.ts"
import { makeOddities } from "../../src/loops/oddities.ts"
import { superviseForever } from "../../src/loops/superviseForever.ts"
import { SharedStoreError, type SharedStoreStatus } from "../../src/shared/SharedStore.ts"
import { connect } from "./connect.ts"
import { migrate } from "./migrate.ts"
import type { Session, Work } from "./Session.ts"

/** From the first attempt to connect again to later ones, doubled each time. */
const firstPauseMs = 250
const longestPauseMs = 5_000
/** A connection that has lived so long was no failed attempt. */
const settledMs = 10_000

type State =
  | { readonly _tag: "Connected"; readonly session: Session; readonly sinceMs: number }
  | Extract<SharedStoreStatus, { readonly _tag: "Away" }>

export interface Connection {
  readonly status: Effect.Effect<SharedStoreStatus>
  /** Fails at once while there is no connection; `work` gets its host and port. */
  readonly run: <A>(work: (at: string) => Work<A>) => Effect.Effect<A, SharedStoreError>
}

export interface ConnectionOptions {
  /** Its loop is called so. */
  readonly name: string
  /** Done on each connection for as long as it lives. */
  readonly serve: (session: Session) => Effect.Effect<never, SharedStoreError>
  /** Whether the log tells when it ends and when it is back. */
  readonly isTold: boolean
}

/** Until the scope closes. */
export const keepConnected = Effect.fnUntraced(function* (
  address: PostgresAddress,
  { isTold, name, serve }: ConnectionOptions
): Effect.fn.Return<Connection, never, FileSystem.FileSystem | Scope.Scope> {
  const lost = makeOddities(isTold ? Effect.logWarning : Effect.logDebug)
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

  const lived = Effect.gen(function* () {
    const session = yield* connect(address)
    yield* session.run(migrate(session.at))
    const sinceMs = yield* monotonicMillis
    if (isTold) yield* Effect.logInfo(`PostgreSQL ${session.at}: connected`)
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
  yield* Effect.forkScoped(superviseForever(name, turn))

  return {
    status: Effect.sync((): SharedStoreStatus => {
      if (state._tag === "Away") return state
      return { _tag: "Connected", at: state.session.at, sinceMs: state.sinceMs }
    }),
    run: (work) =>
      Effect.suspend(() =>
        state._tag === "Connected" ? state.session.run(work(state.session.at)) : Effect.fail(state.error)
      )
  }
})
