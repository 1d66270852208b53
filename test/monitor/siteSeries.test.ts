import { assert, describe, it } from "@effect/vitest"
import { siteSeries } from "../../src/monitor/siteSeries.ts"
import type { SiteReport } from "../../src/shared/Ownership.ts"
import type { SiteStanding } from "../../src/shared/Site.ts"
import { SharedStoreError } from "../../src/shared/SharedStore.ts"

const standing: SiteStanding = {
  gateway: 3,
  store: { _tag: "Connected", at: "db1:5432", sinceMs: 0 },
  readAt: 10_000,
  reliedUntil: 10_000 + 86_400_000,
  untold: 7,
  slots: { own: 2_560, used: 12 }
}
const gateway = (no: number, alive: boolean): SiteReport["gateways"][number] => ({
  gateway: no,
  own: no === standing.gateway,
  alive,
  heardAt: 0,
  clients: 1,
  master: false,
  draining: false,
  about: null
})
const valuesOf = (...args: Parameters<typeof siteSeries>) =>
  Object.fromEntries(
    siteSeries(...args).map(({ family, labels, value }) => [[family, ...Object.values(labels)].join(" "), value])
  )

describe("the metrics of a site", () => {
  it("tell how it is with PostgreSQL, and who else is there", () => {
    const presence: SiteReport = {
      met: null,
      gateways: [gateway(0, true), gateway(3, true), gateway(4, false), gateway(5, true)],
      owners: new Map([["alice", 0]]) as unknown as SiteReport["owners"]
    }

    assert.deepStrictEqual(valuesOf(standing, presence, 12_500), {
      sallyport_site_connected: 1,
      sallyport_site_untold: 7,
      sallyport_site_read_age_seconds: 2.5,
      "sallyport_site_gateways alive": 2,
      "sallyport_site_gateways silent": 1,
      sallyport_site_clients_elsewhere: 1
    })
  })

  it("have no value for what is not known: nothing was read, nobody was met; a clock that was set back ages nothing", () => {
    const error = new SharedStoreError({ reason: "Silent", message: "PostgreSQL: no answer" })
    const away = { ...standing, store: { _tag: "Away", error, sinceMs: 0 } } as const

    assert.deepStrictEqual(valuesOf({ ...away, readAt: null }, null, 12_500), {
      sallyport_site_connected: 0,
      sallyport_site_untold: 7
    })
    assert.strictEqual(valuesOf(away, null, 9_000)["sallyport_site_read_age_seconds"], 0)
  })
})
