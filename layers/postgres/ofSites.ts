/** Which site a gateway is of, where there are several: what each is called and which slice it has stays as it was said first. */
import * as PgTypes from "@effect/sql-pg/PgTypes"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { SignIn, SiteNumber } from "../../src/shared/SharedStore.ts"
import { maxGateways, maxSites } from "../../src/shared/slotZones.ts"
import { sharedStoreError } from "./explainSql.ts"
import { changing } from "./revisions.ts"
import { bounded } from "./rows.ts"
import type { Query } from "./Session.ts"

/** A block `no` of the only site that is in the slice of another one where there are several. */
export const ofOthersSlice = `no BETWEEN ${maxGateways / maxSites} AND ${maxGateways - 1}`

/** Fails where the gateway's file says otherwise than others did. */
export const agreeOnSites = Effect.fnUntraced(function* (at: string, query: Query, sites: SignIn["sites"]) {
  const read = Effect.flatMap(query(known), decodeSites)
  const before = yield* read
  if (sites === null || sites === undefined) {
    if (before.length === 0) return
    const names = before.map(({ name }) => name).join(", ")
    return yield* sharedStoreError(
      "Failed",
      at,
      `it is of several sites (${names}), and the file names none`,
      "say in the file which one this gateway is of (site: and sites:)"
    )
  }
  const { all } = sites
  // First of all: what was said wrongly stays for ever, too.
  yield* contradiction(at, before, all)
  if (all.some((site) => !before.some(({ number }) => number === site.number))) {
    const moved = yield* changing(
      query,
      Effect.gen(function* () {
        const taken =
          before.length > 0 ? [] : yield* query(`SELECT FROM sallyport.lease WHERE ${ofOthersSlice} LIMIT 1`)
        if (taken.length === 0) yield* query(add, [PgTypes.json(all)])
        return taken.length > 0
      })
    )
    if (moved) {
      return yield* sharedStoreError(
        "Failed",
        at,
        "its only site has given addresses that would be those of other sites",
        "let the sites begin with another database and new state directories"
      )
    }
  }
  yield* contradiction(at, yield* read, all)
})

const contradiction = Effect.fnUntraced(function* (
  at: string,
  known: ReadonlyArray<SiteNumber>,
  all: ReadonlyArray<SiteNumber>
) {
  for (const { name, number } of known) {
    const wrong = all.find((site) => (site.name === name) !== (site.number === number))
    if (wrong !== undefined) return yield* otherNumber(at, { name, number }, wrong)
  }
})

const otherNumber = (at: string, known: SiteNumber, said: SiteNumber) =>
  sharedStoreError(
    "Failed",
    at,
    `site ${known.name} has number ${known.number}, and the file says that ${said.name} has number ${said.number}`,
    "a site keeps its name and its number: say in all files what was said first (sites:)"
  )

const known = `SELECT ${bounded("name")} AS name, no AS number FROM sallyport.site ORDER BY no LIMIT ${maxSites}`
const decodeSites = Schema.decodeUnknownEffect(Schema.Array(Schema.Struct({ name: Schema.String, number: Schema.Int })))
const add = `
  INSERT INTO sallyport.site (name, no) SELECT name, number FROM json_to_recordset($1) AS (name text, number smallint)
  ON CONFLICT DO NOTHING`

/** Where its clients were seen as long as it was of another site says nothing of them in this one. */
export const beOfSite = (query: Query, gateway: number, site: number) =>
  query(
    `WITH moved AS (UPDATE sallyport.gateway SET site = $2 WHERE no = $1 AND site <> $2 RETURNING no)
     DELETE FROM sallyport.presence WHERE gateway IN (SELECT no FROM moved)`,
    [gateway, site]
  )
