/** How a gateway comes to a site: by its number, and with all that the site may have lost of it. */
import * as PgTypes from "@effect/sql-pg/PgTypes"
import * as Effect from "effect/Effect"
import type { SignedIn, SignIn } from "../../src/shared/SharedStore.ts"
import { maxGateways } from "../../src/shared/slotZones.ts"
import { sharedStoreError } from "./explainSql.ts"
import { agreeOnSites, beOfSite } from "./ofSites.ts"
import { changing, isKept, remembered, revised } from "./revisions.ts"
import { decodeNumber } from "./rows.ts"
import type { Query, Work } from "./Session.ts"

/** Another one after each start, and for tables that were made anew: whoever signed in to it has told what he has. */
const incarnation =
  "(SELECT extract(epoch FROM pg_postmaster_start_time())::text || ' ' || 'sallyport.gateway'::regclass::oid::text)"
/** No gateway has what these tables have lost. */
export const mayGrow = `NOT EXISTS (SELECT FROM sallyport.gateway WHERE incarnation NOT IN (${incarnation}, 'forgotten'))`

export const signIn =
  (at: string, { sites, ...as }: SignIn): Work<SignedIn> =>
  (query) =>
    agreeOnSites(at, query, sites).pipe(
      Effect.andThen(join(at, as)(query)),
      Effect.tap(({ gateway }) => beOfSite(query, gateway, sites?.own ?? 0))
    )

const join =
  (at: string, { blocks, cursor, directory, gateway, id }: Omit<SignIn, "sites">): Work<SignedIn> =>
  (query) =>
    Effect.gen(function* () {
      const history = [cursor?.head ?? null, cursor?.token ?? null]
      const [known] = yield* query(signedIn, [id, gateway, ...history])
      if (known !== undefined) {
        const { no } = yield* decodeNumber(known)
        yield* beOne(at, query, no)
        return { gateway: no, lost: false }
      }
      return yield* changing(
        query,
        Effect.gen(function* () {
          const [past] = yield* query(allAreGone)
          if (past?.["gone"] === true) {
            yield* query("TRUNCATE sallyport.mapping")
            yield* query("DELETE FROM sallyport.revision")
          }
          const lost = (yield* query(isKept, history)).length === 0
          yield* query(enter, [id, gateway])
          const [row] = yield* query("SELECT no FROM sallyport.gateway WHERE id = $1", [id])
          if (row === undefined && gateway === null) return yield* noneLeft(at)
          const { no } = row === undefined ? { no: null } : yield* decodeNumber(row)
          if (no === null || (gateway !== null && no !== gateway)) return yield* twoOwners(at)
          yield* beOne(at, query, no)
          if (lost) {
            yield* query(`WITH revised AS (${revised}) SELECT FROM revised`)
            yield* query(restoreDirectory, [PgTypes.json(directory)])
            const others = yield* query(foreignBlocks, [no, PgTypes.json(blocks)])
            if (others.length === 0) yield* query(restoreBlocks, [no, PgTypes.json(blocks)])
            // Who comes for the first time asks for what he gave when he was alone; others have had it.
            else if (gateway !== null) return yield* twoOwners(at)
          }
          yield* query(`UPDATE sallyport.gateway SET incarnation = ${incarnation} WHERE no = $1`, [no])
          return { gateway: no, lost }
        })
      )
    })

/** Until the connection ends no other one is this gateway's: two processes would give one slot to two names. */
const beOne = Effect.fnUntraced(function* (at: string, query: Query, no: number) {
  const [row] = yield* query("SELECT pg_try_advisory_lock(1398893690, $1) AS mine", [no])
  if (row?.["mine"] === true) return
  return yield* sharedStoreError(
    "Taken",
    at,
    `another process is gateway ${no} of the site at this moment`,
    "stop it, or end this one and give it a state directory that is no copy of that one's: sallyport backup there, sallyport restore here"
  )
})

/** It is silent no more; what others ask for is looked at again: they are told that there is something new. */
export const forgetGateway =
  (gateway: number): Work<"Forgotten" | "Present" | "Unknown"> =>
  (query) =>
    changing(
      query,
      Effect.gen(function* () {
        const [row] = yield* query(presence, [gateway])
        if (row === undefined) return "Unknown"
        if (row["present"] === true) return "Present"
        yield* query("UPDATE sallyport.gateway SET incarnation = 'forgotten' WHERE no = $1", [gateway])
        yield* query("DELETE FROM sallyport.heartbeat WHERE gateway = $1", [gateway])
        yield* query(`WITH revised AS (${revised}) SELECT FROM revised`)
        return "Forgotten"
      })
    )
/** By the lock of `beOne`. */
const presence = `
  SELECT EXISTS (
    SELECT FROM pg_locks JOIN pg_database ON database = pg_database.oid AND datname = current_database()
    WHERE locktype = 'advisory' AND classid = 1398893690 AND objid::bigint = no AND objsubid = 2
  ) AS present FROM sallyport.gateway WHERE no = $1`

const signedIn = `
  SELECT no FROM sallyport.gateway
  WHERE id = $1 AND incarnation = ${incarnation} AND ($2::integer IS NULL OR no = $2)
    AND EXISTS (SELECT FROM sallyport.revision WHERE rev = $3 AND token::text = $4)`
/**
 * What was told more than a day ago nobody relies on any more, and who told it may have released it since. Without a
 * revision that anybody has read all begin anew, and tell what they have.
 */
const allAreGone = `
  SELECT NOT EXISTS (SELECT FROM sallyport.gateway WHERE incarnation = ${incarnation})
    AND NOT EXISTS (SELECT FROM sallyport.revision WHERE at > now() - interval '${remembered}') AS gone`
const enter = `
  INSERT INTO sallyport.gateway (no, id, incarnation) SELECT no, $1, '' FROM (SELECT coalesce($2, max(no) + 1, 0) AS no FROM sallyport.gateway) AS next
  WHERE no < ${maxGateways} ON CONFLICT DO NOTHING`
const restoreDirectory = `
  INSERT INTO sallyport.directory (domain, slot, rev)
  SELECT domain, slot, (SELECT max(rev) FROM sallyport.revision)
  FROM json_to_recordset($1) AS (domain text, slot integer) ON CONFLICT DO NOTHING`
const restoreBlocks = `
  INSERT INTO sallyport.lease (no, gateway) SELECT value::integer, $1 FROM json_array_elements_text($2)
  ON CONFLICT (no) DO NOTHING`
const foreignBlocks = `
  SELECT no FROM sallyport.lease WHERE gateway <> $1 AND no IN (SELECT value::integer FROM json_array_elements_text($2))`

const noneLeft = (at: string) =>
  sharedStoreError(
    "Failed",
    at,
    `its site has had ${maxGateways} gateways, and none gets the number of another one`,
    "give this gateway the state directory of one that is gone"
  )
const twoOwners = (at: string) =>
  sharedStoreError(
    "Failed",
    at,
    "it has lost what it gave to this gateway, and has given it to another one since",
    "give this gateway a new state directory"
  )
