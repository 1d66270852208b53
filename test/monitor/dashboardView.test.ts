import { assert, describe, it } from "@effect/vitest"
import { dashboardView } from "../../src/monitor/dashboardView.ts"
import { input } from "../cli/fixtures.ts"

const parts = [
  { part: "worker", why: null },
  { part: "resolver", why: "no DNS server answers: 10.0.0.53" }
] as const

describe("the dashboard's view", () => {
  it("has what is wrong, names that fail before others, and who is connected first", () => {
    const view = dashboardView({
      ...input,
      parts,
      clients: input.clients.toReversed(),
      dataPlaneCounters: { "outbound.bytes": 7, "outbound.filtered": 2, "outbound.unmapped": 3, "sessions.live": 1 }
    })

    assert.deepStrictEqual(view.problems, ["resolver: no DNS server answers: 10.0.0.53"])
    assert.deepStrictEqual(
      view.clients.rows.map(({ connected, from, name }) => [name, connected, from]),
      [
        ["alice", true, "198.51.100.7:4500"],
        ["bob", false, null]
      ]
    )
    assert.deepStrictEqual(
      view.names.rows.map(({ domain, state }) => [domain, state]),
      [
        ["old.corp.internal", "Stale"],
        ["none.corp.internal", "Unresolved"],
        ["gitlab.corp.internal", "Resolved"],
        ["new.corp.internal", "Resolving"]
      ]
    )
    assert.deepStrictEqual(view.traffic, { fromClients: 7, toClients: 0, sessions: 1, refused: 5 })
    assert.deepStrictEqual(view.refused, [
      { reason: "unmapped", packets: 3 },
      { reason: "filtered", packets: 2 }
    ])
  })

  it("is bounded, and says how many there are", () => {
    const many = Array.from({ length: 5_000 }, () => input.mappings[2]!)
    const clients = Array.from({ length: 1_000 }, () => input.clients[1]!)
    const { clients: shown, names } = dashboardView({ ...input, parts, clients, mappings: many })

    assert.deepStrictEqual(
      [shown.all, shown.rows.length, names.all, names.failing, names.rows.length],
      [1_000, 200, 5_000, 5_000, 300]
    )
  })
})
