/** One connection to one PostgreSQL: one piece of work at a time, each with a time limit, until the first that fails. */
import * as PgConnection from "@effect/sql-pg/PgConnection"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import type * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { SqlError } from "effect/sql/SqlError"
import { SharedStoreError } from "../../src/shared/SharedStore.ts"
import { explainSql, silent } from "./explainSql.ts"

/** A piece of work takes so long, at most. */
const answerMs = 5_000

/** Rows of one statement, by column. */
export type Query = (
  sql: string,
  parameters?: ReadonlyArray<unknown>
) => Effect.Effect<ReadonlyArray<Readonly<Record<string, unknown>>>, SqlError>

export type Work<A> = (query: Query) => Effect.Effect<A, SqlError | SharedStoreError | Schema.SchemaError>

export interface Session {
  /** Host and port. */
  readonly at: string
  /**
   * After those that came before. A failure ends the session, and with it the transaction that it was in; whoever does not
   * wait for the end of his work changes nothing about it.
   */
  readonly run: <A>(work: Work<A>) => Effect.Effect<A, SharedStoreError>
  /** Ends when somebody has sent a `NOTIFY`; one at a time waits here. */
  readonly notified: Effect.Effect<void, SharedStoreError>
  /** Why it ended, once it has. */
  readonly ended: Effect.Effect<never, SharedStoreError>
}

/** Connects, does what comes `first`, listens to the channel, and ends with the scope. */
export const openSession = Effect.fnUntraced(function* (
  at: string,
  config: PgConnection.Config,
  channel: string,
  first: Work<void>
): Effect.fn.Return<Session, SharedStoreError, Scope.Scope> {
  // Closed in this order: a server that hangs would not answer what is said to it in parting.
  const connected = yield* Scope.make()
  const inUse = yield* Scope.make()
  const close = Effect.andThen(Scope.close(connected, Exit.void), Scope.close(inUse, Exit.void))
  yield* Effect.addFinalizer(() => close)

  const explained = Effect.mapError((error: SqlError) => explainSql(at, error))
  const connection = yield* PgConnection.make(config).pipe(Scope.provide(connected), explained)
  const own = yield* Scope.provide(connection.pin, inUse)

  const ended = Deferred.makeUnsafe<never, SharedStoreError>()
  const end = (error: SharedStoreError) => Effect.andThen(Deferred.fail(ended, error), close)
  const query: Query = (sql, parameters) => Effect.map(own.query(sql, parameters), ({ rows }) => rows)

  const limited = Effect.fnUntraced(function* <A>(work: Work<A>) {
    const watch = yield* Effect.forkChild(Effect.andThen(Effect.sleep(answerMs), end(silent(at, answerMs))))
    const exit = yield* Effect.exit(work(query))
    yield* Fiber.interrupt(watch)
    if (Exit.isSuccess(exit)) return exit.value
    const error = Option.getOrUndefined(Cause.findErrorOption(exit.cause)) ?? Cause.squash(exit.cause)
    yield* end(error instanceof SharedStoreError ? error : explainSql(at, error))
    return yield* Deferred.await(ended)
  })
  const turn = Semaphore.makeUnsafe(1)
  // Interrupting a statement means to ask the server to forget it, and to wait for its answer.
  const run = <A>(work: Work<A>) => Effect.flatMap(Effect.forkDetach(turn.withPermit(limited(work))), Fiber.join)

  yield* run(first)
  const heard = yield* run(() => Scope.provide(own.listen(channel), inUse))
  const notified = Effect.matchCauseEffect(Queue.takeAll(heard), {
    onSuccess: () => Effect.void,
    onFailure: (cause) =>
      Effect.andThen(
        Option.match(Cause.findErrorOption(cause), {
          onNone: () => Effect.void,
          onSome: (error) => end(explainSql(at, error))
        }),
        Deferred.await(ended)
      )
  })
  return { at, run, notified, ended: Deferred.await(ended) }
})
