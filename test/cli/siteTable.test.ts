import { assert, describe, expect, it } from "@effect/vitest"
import { siteTable } from "../../src/cli/statusSections.ts"
import type { StatusReport } from "../../src/cli/statusReport.ts"
import { report } from "./fixtures.ts"

type Site = NonNullable<StatusReport["site"]>
type Row = Site["gateways"][number]

const { at } = report
const about = { version: "0.1.0", host: "gw-a", policy: 7, readAt: at - 400 }
const row = (gateway: number, more: Partial<Row> = {}): Row => ({
  gateway,
  own: false,
  alive: true,
  heardAt: at - 600,
  clients: 12,
  master: false,
  draining: false,
  about,
  ...more
})
const siteOf = (gateways: ReadonlyArray<Row>, wrong: string | null = null): StatusReport => ({
  ...report,
  site: {
    gateway: 1,
    readAt: at,
    reliedUntil: at,
    untold: 0,
    slots: { own: 1, used: 0 },
    postgres: { server: wrong === null ? "db1:5432" : null, since: at - 90_000, wrong },
    gateways
  }
})
const numbersIn = (text: string) => [...text.matchAll(/^(\d+)/gm)].map(([, number]) => Number(number))

describe("status --all", () => {
  it("has a line for each gateway, those with something wrong first", () => {
    const all = siteOf([
      row(0),
      row(1, { own: true, master: true, clients: 8 }),
      row(2, { draining: true, clients: 1 }),
      row(3, { about: { ...about, host: "gw-d", policy: 6 } }),
      row(4, { alive: false, heardAt: at - 120_000, clients: 0 }),
      { ...row(5), about: { ...about, policy: null, readAt: null } }
    ])

    expect(siteTable(all)).toMatchInlineSnapshot(`
      "GATEWAY   HOST  STATE             ADDRESS  CLIENTS  POLICY            READ     VERSION
      4         gw-a  silent for 2 min  -        0        7                 0 s ago  0.1.0
      3         gw-d  alive             -        12       6 (not 7)         0 s ago  0.1.0
      5         gw-a  alive             -        12       own file (not 7)  -        0.1.0
      2         gw-a  drains            -        1        7                 0 s ago  0.1.0
      0         gw-a  alive             -        12       7                 0 s ago  0.1.0
      1 (this)  gw-a  alive             here     8        7                 0 s ago  0.1.0"
    `)
    assert.deepStrictEqual(numbersIn(siteTable(all)), [4, 3, 5, 2, 0, 1])
  })

  it("knows nothing of what an older version does not say, and nobody is behind where no policy was applied", () => {
    const { about: _, ...older } = row(0)
    const text = siteTable(siteOf([older, row(1, { about: { ...about, policy: null } })]))

    assert.match(text, /^0 +- +alive +- +12 +- +- +-$/m)
    assert.match(text, /^1 .* own file +0 s ago/m)
  })

  it("says how old it is while PostgreSQL is away, and where there is no site", () => {
    assert.match(siteTable(siteOf([row(0)], "gone")), /\nas it was 1 min( 30 s)? ago: PostgreSQL is away$/)
    assert.match(siteTable({ ...report }), /has no site/)
    assert.match(siteTable(siteOf([])), /has not met its site yet/)
  })

  it("keeps to the width of the screen", () => {
    for (const line of siteTable(siteOf([row(0, { about: { ...about, host: "h".repeat(64) } })]), 80).split("\n")) {
      assert.isAtMost(line.length, 80)
    }
  })
})
