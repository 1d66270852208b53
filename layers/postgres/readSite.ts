/** What a gateway reads of a site, page by page. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Cursor, MappingChange, SharedPage } from "../../src/shared/SharedStore.ts"
import { Newest, newest } from "./revisions.ts"
import { bounded, Change, decodeAll, Entry } from "./rows.ts"
import type { Work } from "./Session.ts"

/** Rows of one page, with all of its last revision, which is read as a whole. */
const pageRows = 5_000

/**
 * One statement, which sees the site as it was at one moment: all gateways read after each change. `tell` gets what is wrong
 * with a row that is left out, in one line.
 */
export const readSite =
  (gateway: number, after: Cursor | null, tell: (problem: string) => Effect.Effect<void>): Work<SharedPage> =>
  (query) =>
    Effect.gen(function* () {
      const past = [after?.revision ?? 0, after?.head ?? null, after?.token ?? null]
      const [page] = yield* decodePage(yield* query(readPage, [gateway, ...past]))
      const { blocks, entered, from, head, ms, rows, token } = page
      const full = rows.length >= pageRows
      const revision = full ? (yield* decodeRevision(rows.at(-1))).rev : head
      // An entry stays as it was entered, so that these are the same a moment later.
      const entries = entered ? yield* query(enteredSince, [from, revision]) : []
      return {
        changes: (yield* decodeAll(Change, rows, tell)).map(toChange),
        directory: yield* decodeAll(Entry, entries, tell),
        cursor: { revision, head, token },
        last: !full,
        anew: from === 0,
        blocks,
        dateMs: ms
      }
    })
const decodePage = Schema.decodeUnknownEffect(
  Schema.Tuple([
    Schema.Struct({
      ...Newest.fields,
      from: Schema.Int,
      blocks: Schema.Array(Schema.Int),
      entered: Schema.Boolean,
      rows: Schema.Array(Schema.Unknown)
    })
  ])
)
const decodeRevision = Schema.decodeUnknownEffect(Schema.Struct({ rev: Schema.Int }))

/** None is newer than the newest revision but by somebody's mistake. */
const readPage = `
  WITH head AS (${newest}), start AS (
    SELECT coalesce((SELECT $2::bigint FROM sallyport.revision WHERE rev = $3 AND token::text = $4), 0) AS rev
  )
  SELECT head, token, ms, (SELECT rev FROM start)::float8 AS "from",
    array(SELECT no FROM sallyport.lease WHERE gateway = $1 ORDER BY no) AS blocks,
    EXISTS (SELECT FROM sallyport.directory WHERE rev > (SELECT rev FROM start) AND rev <= head) AS entered,
    (
      SELECT coalesce(json_agg(page ORDER BY rev), '[]') FROM (
        SELECT ${bounded("client")} AS client, slot, ${bounded("domain")} AS domain, ${bounded("resource")} AS resource,
          last_used, gone, rev
        FROM sallyport.mapping WHERE rev > (SELECT rev FROM start) AND rev <= (SELECT head::bigint FROM head)
        ORDER BY rev FETCH FIRST ${pageRows} ROWS WITH TIES
      ) AS page
    ) AS rows
  FROM head`
const enteredSince = `SELECT ${bounded("domain")} AS domain, slot FROM sallyport.directory WHERE rev > $1 AND rev <= $2`

const toChange = ({ client, domain, gone, last_used, resource, slot }: typeof Change.Type): MappingChange =>
  gone
    ? { _tag: "Released", mapping: { client, slot, domain } }
    : { _tag: "Put", mapping: { client, slot, domain, resource, lastUsedAt: last_used } }
