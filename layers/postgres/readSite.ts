/** What a gateway reads of a site, page by page. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Cursor, MappingChange, SharedPage } from "../../src/shared/SharedStore.ts"
import { headOf, isKept } from "./revisions.ts"
import { bounded, Change, decodeAll, Entry, Numbered } from "./rows.ts"
import type { Work } from "./Session.ts"

/** Rows of one page, with all of its last revision, which is read as a whole. */
const pageRows = 5_000

/** `tell` gets what is wrong with a row that is left out, in one line. */
export const readSite =
  (gateway: number, after: Cursor | null, tell: (problem: string) => Effect.Effect<void>): Work<SharedPage> =>
  (query) =>
    Effect.gen(function* () {
      yield* query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
      const { head, ms, token } = yield* headOf(query)
      const known = after === null ? [] : yield* query(isKept, [after.head, after.token])
      const from = known.length > 0 && after !== null ? after.revision : 0
      const rows = yield* query(changed, [from, head])
      const full = rows.length >= pageRows
      const revision = full ? (yield* decodeRevision(rows.at(-1))).rev : head
      const directory = yield* query(entered, [from, revision])
      const blocks = yield* query("SELECT no FROM sallyport.lease WHERE gateway = $1 ORDER BY no", [gateway])
      yield* query("COMMIT")
      return {
        changes: (yield* decodeAll(Change, rows, tell)).map(toChange),
        directory: yield* decodeAll(Entry, directory, tell),
        cursor: { revision, head, token },
        last: !full,
        anew: from === 0,
        blocks: (yield* decodeAll(Numbered, blocks, tell)).map(({ no }) => no),
        dateMs: ms
      }
    })
const decodeRevision = Schema.decodeUnknownEffect(Schema.Struct({ rev: Schema.Int }))

/** None is newer than the newest revision but by somebody's mistake. In the order of the index: `rev` alone would be the column of the answer, and all rows sorted by it for each page. */
const changed = `
  SELECT ${bounded("client")} AS client, slot, ${bounded("domain")} AS domain, ${bounded("resource")} AS resource, last_used,
    gone, rev::float8 AS rev
  FROM sallyport.mapping
  WHERE rev > $1 AND rev <= $2 ORDER BY mapping.rev FETCH FIRST ${pageRows} ROWS WITH TIES`
const entered = `SELECT ${bounded("domain")} AS domain, slot FROM sallyport.directory WHERE rev > $1 AND rev <= $2`

const toChange = ({ client, domain, gone, last_used, resource, slot }: typeof Change.Type): MappingChange =>
  gone
    ? { _tag: "Released", mapping: { client, slot, domain } }
    : { _tag: "Put", mapping: { client, slot, domain, resource, lastUsedAt: last_used } }
