import { assert, describe, it } from "@effect/vitest"
import { makeStatusReport } from "../../src/cli/makeStatusReport.ts"
import { isWrong, troublesOf } from "../../src/cli/troubles.ts"
import type { Event, LoggedEvent } from "../../src/events/Event.ts"
import { dashboardView } from "../../src/monitor/dashboardView.ts"
import { input, mapping, report } from "../cli/fixtures.ts"

const logged = (...events: ReadonlyArray<Event>): ReadonlyArray<LoggedEvent> =>
  events.map((event, i) => ({ number: i + 1, at: input.at - 60_000 + i * 1_000, event }))

const refused = (client: string, packets: number): Event => ({
  _tag: "Refused",
  client,
  packets,
  reason: "filtered",
  to: { domain: "gitlab.corp.internal", resource: "gitlab", address: "100.96.0.1", protocol: "tcp", port: 22 }
})

describe("the dashboard's view", () => {
  it("says of what is wrong just what status says", () => {
    const { troubles } = dashboardView(report, [])

    const said = troublesOf(report)
    assert.isAbove(said.length, 3)
    assert.deepStrictEqual(
      troubles.rows.map(({ gravity, next, what }) => [gravity, what, next]),
      said.map(({ gravity, next, what }) => [gravity, what, next])
    )
    assert.deepStrictEqual([troubles.all, troubles.wrong], [said.length, said.filter(isWrong).length])
  })

  it("has names that fail before others, each with its last hour, and who is connected first", () => {
    const lookup = { _tag: "Lookup", client: "alice", resolver: "corp", cause: "First", durationMs: 3 } as const
    const { clients, names } = dashboardView(
      report,
      logged(
        { ...lookup, domain: "gitlab.corp.internal", outcome: "NameNotFound", addresses: [] },
        { ...lookup, domain: "gitlab.corp.internal", outcome: "answer", addresses: ["10.20.0.5"] }
      )
    )

    assert.deepStrictEqual(
      clients.rows.map(({ connected, from, name }) => [name, connected, from]),
      [
        ["alice", true, "198.51.100.7:4500"],
        ["bob", false, null]
      ]
    )
    assert.deepStrictEqual(
      names.rows.map(({ domain, state }) => [domain, state]),
      [
        ["none.corp.internal", "Unresolved"],
        ["old.corp.internal", "Stale"],
        ["new.corp.internal", "Resolving"],
        ["gitlab.corp.internal", "Resolved"]
      ]
    )
    assert.strictEqual(names.failing, 2)
    assert.deepStrictEqual(names.rows[3]?.timeline, [
      { state: "Unresolved", from: input.at / 1_000 - 60 },
      { state: "Resolved", from: input.at / 1_000 - 59 }
    ])
  })

  it("tells the last refusals, the latest first, and drops by place and reason", () => {
    const dataPlaneCounters = {
      "outbound.bytes": 7,
      "outbound.filtered": 2,
      "inbound.no_session": 3,
      "sessions.live": 1
    }
    const view = dashboardView(
      makeStatusReport({ ...input, dataPlaneCounters }),
      logged(refused("alice", 2), refused("bob", 1))
    )

    assert.deepStrictEqual(view.traffic, { fromClients: 7, toClients: 0, flows: 1, dropped: 5 })
    assert.deepStrictEqual(view.drops, [
      { at: "inbound", reason: "no_session", packets: 3 },
      { at: "outbound", reason: "filtered", packets: 2 }
    ])
    assert.deepStrictEqual(
      view.refusals.map(({ client, packets, reason, to }) => [client, packets, reason, to]),
      ["bob", "alice"].map((client, i) => [
        client,
        i + 1,
        "the resource's ports do not let it through",
        "gitlab.corp.internal (100.96.0.1) tcp/22 of gitlab"
      ])
    )
  })

  it("is bounded, and says how many there are", () => {
    const mappings = Array.from({ length: 5_000 }, (_, i) => ({
      ...input.mappings[2]!,
      mapping: mapping(`n${i}.corp.internal`)
    }))
    const clients = Array.from({ length: 1_000 }, () => input.clients[1]!)
    const events = logged(...Array.from({ length: 2_000 }, () => refused("alice", 1)))

    const view = dashboardView(makeStatusReport({ ...input, clients, mappings }), events)

    assert.deepStrictEqual([view.clients.all, view.clients.rows.length], [1_000, 200])
    assert.deepStrictEqual([view.names.all, view.names.failing, view.names.rows.length], [5_000, 5_000, 500])
    assert.deepStrictEqual([view.troubles.rows.length, view.refusals.length], [100, 50])
    assert.isAbove(view.troubles.all, 5_000)
  })

  it("takes control characters out of what the network has named", () => {
    const hostile = "\u001b[2J\u202egnp.corp.internal"
    const mappings = [{ ...input.mappings[2]!, mapping: mapping(hostile) }]

    const text = JSON.stringify(
      dashboardView(makeStatusReport({ ...input, mappings }), logged(refused("alice\u0007", 1)))
    )

    assert.notMatch(text, /\\u001b|\\u0007|\u202e/)
    assert.include(text, "?[2J?gnp.corp.internal")
  })
})
