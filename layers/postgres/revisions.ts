/**
 * What orders the changes of a site: each has a revision, and they are committed in the order of their numbers, so that
 * whoever has read up to one has missed none before it.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Query, Work } from "./Session.ts"

/** Told by `NOTIFY`: there is a new revision. */
export const channel = "sallyport"

/** Every change of a site is made under it, so that revisions are committed in the order of their numbers. */
const siteLock = "SELECT pg_advisory_xact_lock(1398893689, 1)"

/** All of it or nothing, and nobody else's in between. Failures end the session, and the transaction with it. */
export const changing = <A, E>(query: Query, work: Effect.Effect<A, E>) =>
  query("BEGIN").pipe(
    Effect.andThen(query(siteLock)),
    Effect.andThen(work),
    Effect.tap(() => query("COMMIT"))
  )

/** A row with the new revision's `rev`; who listens is told when it is committed. */
export const revised = `INSERT INTO sallyport.revision DEFAULT VALUES RETURNING rev, pg_notify('${channel}', '')`

/** The newest revision, and what time it is; also how an idle connection shows that it is one. */
export const headOf = (query: Query) =>
  query(newest).pipe(
    Effect.flatMap(decodeNewest),
    Effect.map(([row]) => row)
  )
export const newest = `
  SELECT rev::float8 AS head, token::text, extract(epoch FROM now())::float8 * 1000 AS ms
  FROM sallyport.revision ORDER BY rev DESC LIMIT 1`
export const Newest = Schema.Struct({ head: Schema.Int, token: Schema.String, ms: Schema.Finite })
const decodeNewest = Schema.decodeUnknownEffect(Schema.Tuple([Newest]))
/** A row, if the store still has what was read up to there. */
export const isKept = "SELECT FROM sallyport.revision WHERE rev = $1 AND token::text = $2"

/** So long a gateway may be away and then read on, and what it has told is relied on. */
export const remembered = "24 hours"

/** Rows of each table: a statement that takes longer than others wait is none. */
const prunedAtOnce = 10_000

/** What nobody who reads on can need any more goes; who has read less begins anew. One gateway at a time does this. */
export const prune: Work<void> = (query) =>
  Effect.gen(function* () {
    yield* query("BEGIN")
    const [row] = yield* query("SELECT pg_try_advisory_xact_lock(1398893689, 2) AS mine")
    if (row?.["mine"] === true) {
      const old = `(SELECT max(rev) FROM sallyport.revision WHERE at < now() - interval '${remembered}')`
      // By the revision, too: somebody may be about to give the slot again.
      yield* query(`
        DELETE FROM sallyport.mapping USING (
          SELECT client, slot, rev FROM sallyport.mapping WHERE gone AND rev <= ${old} LIMIT ${prunedAtOnce}
        ) AS past WHERE (mapping.client, mapping.slot, mapping.rev) = (past.client, past.slot, past.rev)`)
      yield* query(`
        DELETE FROM sallyport.revision USING (
          SELECT rev FROM sallyport.revision WHERE rev < ${old} ORDER BY rev LIMIT ${prunedAtOnce}
        ) AS past WHERE revision.rev = past.rev`)
      yield* query(`
        DELETE FROM sallyport.presence USING (
          SELECT gateway, public_key, rev FROM sallyport.presence
          WHERE handshake_at < extract(epoch FROM now() - interval '${remembered}')::float8 * 1000 LIMIT ${prunedAtOnce}
        ) AS past WHERE (presence.gateway, presence.public_key, presence.rev) = (past.gateway, past.public_key, past.rev)`)
    }
    yield* query("COMMIT")
  })
