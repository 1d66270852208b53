/** What gateways put into a site. `tell` gets what is wrong with a row that is left out, in one line. */
import * as PgTypes from "@effect/sql-pg/PgTypes"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { DirectoryEntry } from "../../src/shared/directory.ts"
import type { Conflict, MappingChange } from "../../src/shared/SharedStore.ts"
import type { SlotSpan } from "../../src/shared/slotZones.ts"
import { changing, revised } from "./revisions.ts"
import { bounded, decodeAll, decodeNumber, Entry } from "./rows.ts"
import type { Work } from "./Session.ts"
import { ofOthersSlice } from "./ofSites.ts"
import { mayGrow } from "./signIn.ts"

export const writeMappings =
  (changes: ReadonlyArray<MappingChange>): Work<ReadonlyArray<Conflict>> =>
  (query) => {
    const rows = new Map<string, object>()
    for (const { _tag, mapping } of changes) {
      const { client, domain, slot } = mapping
      const put = _tag === "Put" ? mapping : { resource: "", lastUsedAt: 0 }
      const row = { client, slot, domain, resource: put.resource, last_used: put.lastUsedAt, gone: _tag === "Released" }
      rows.set(`${slot} ${client}`, row)
    }
    return changing(query, Effect.flatMap(query(upsert, [PgTypes.json([...rows.values()])]), decodeConflicts))
  }
/**
 * A slot stands for the name that came first, until it is released: the other one is told instead. The rows of `was` are as
 * they were before, and nobody else changes them meanwhile.
 */
const upsert = `
  WITH revised AS (${revised}),
  asked AS (
    SELECT * FROM json_to_recordset($1)
    AS (client text, slot integer, domain text, resource text, last_used double precision, gone boolean)
  ),
  written AS (
    INSERT INTO sallyport.mapping AS was (client, slot, domain, resource, last_used, gone, rev)
    SELECT client, slot, domain, resource, last_used, gone, rev FROM asked, revised
    ON CONFLICT (client, slot) DO UPDATE SET
      domain = excluded.domain, resource = excluded.resource, gone = excluded.gone, rev = excluded.rev,
      last_used = CASE WHEN was.domain = excluded.domain THEN greatest(was.last_used, excluded.last_used) ELSE excluded.last_used END
    WHERE was.gone OR excluded.gone OR was.domain = excluded.domain
  )
  SELECT client, slot, asked.domain, ${bounded("was.domain")} AS holder FROM asked JOIN sallyport.mapping was USING (client, slot)
  WHERE NOT asked.gone AND NOT was.gone AND was.domain <> asked.domain`
const decodeConflicts = Schema.decodeUnknownEffect(
  Schema.Array(Schema.Struct({ client: Schema.String, slot: Schema.Int, domain: Schema.String, holder: Schema.String }))
)

/** Blocks that have become a site's slice are nobody's, whoever still takes the site for the only one. */
export const leaseBlock =
  (gateway: number, { from, to }: SlotSpan): Work<number | null> =>
  (query) =>
    changing(
      query,
      Effect.gen(function* () {
        const [row] = yield* query(
          `WITH free AS (
             SELECT no FROM generate_series($2, $3 - 1) AS no
             WHERE ${mayGrow} AND no NOT IN (SELECT no FROM sallyport.lease)
               AND NOT (${ofOthersSlice} AND EXISTS (SELECT FROM sallyport.site))
             ORDER BY no LIMIT 1
           ),
           revised AS (INSERT INTO sallyport.revision (at) SELECT now() FROM free RETURNING pg_notify('sallyport', ''))
           INSERT INTO sallyport.lease (no, gateway) SELECT no, $1 FROM free RETURNING no`,
          [gateway, from, to]
        )
        return row === undefined ? null : (yield* decodeNumber(row)).no
      })
    )

export const extendDirectory =
  (
    extend: (known: ReadonlyMap<string, number>) => ReadonlyArray<DirectoryEntry>,
    tell: (problem: string) => Effect.Effect<void>
  ): Work<void> =>
  (query) =>
    changing(
      query,
      Effect.gen(function* () {
        const [grow] = yield* query(`SELECT ${mayGrow} AS now`)
        if (grow?.["now"] !== true) return
        const rows = yield* query(`SELECT ${bounded("domain")} AS domain, slot FROM sallyport.directory`)
        const entries = yield* decodeAll(Entry, rows, tell)
        const added = extend(new Map(entries.map(({ domain, slot }) => [domain, slot])))
        if (added.length === 0) return
        yield* query(
          `WITH revised AS (${revised})
           INSERT INTO sallyport.directory (domain, slot, rev)
           SELECT domain, slot, rev FROM json_to_recordset($1) AS (domain text, slot integer), revised
           ON CONFLICT DO NOTHING -- with one that was left out`,
          [PgTypes.json(added)]
        )
      })
    )
