import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { describeReason } from "../../src/cli/describeReason.ts"
import { formatAge } from "../../src/cli/formatAge.ts"
import { renderStatus, table } from "../../src/cli/renderStatus.ts"
import { makeStatusReport } from "../../src/cli/makeStatusReport.ts"
import { StatusReport } from "../../src/cli/statusReport.ts"
import { Activity } from "../../src/dataplane/Activity.ts"
import { ClientId } from "../../src/model/Client.ts"
import { untilTraffic } from "../../src/resolution/nameEntry.ts"
import * as Resolver from "../../src/resolution/Resolver.ts"
import { input, mapping, report } from "./fixtures.ts"

const maxMappingRows = 10_000

describe("the status report", () => {
  it("goes through JSON unchanged", () => {
    const text = JSON.stringify(report)
    const decoded = Schema.decodeSync(Schema.fromJsonString(StatusReport))(text)
    assert.deepStrictEqual(decoded, report)
  })

  it("of a gateway that has not been restarted since an upgrade is read, too", () => {
    const { defects, ...counters } = report.counters
    assert.isDefined(defects)
    const { foreignNetworks: _, ipv6: _ipv6, ...older } = report
    const before = { ...older, counters }
    assert.deepStrictEqual(Schema.decodeSync(StatusReport)(before), before)
    assert.include(renderStatus(before), "COUNTER")
  })

  it("tells a name that serves its last good answer from a fresh one", () => {
    assert.deepStrictEqual(
      report.mappings.map(
        ({ state, addresses, reason }) => [state, addresses.length, reason] as ReadonlyArray<unknown>
      ),
      [
        ["Resolved", 1, null],
        ["Stale", 1, "no DNS answer within 10 s"],
        ["Unresolved", 0, "the name does not exist"],
        ["Resolving", 0, null]
      ]
    )
  })

  it("knows clients that never connected", () => {
    assert.deepStrictEqual(
      report.clients.map(
        (row) => [row.name, row.connected, row.endpoint, row.path, row.lastHandshakeAt] as ReadonlyArray<unknown>
      ),
      [
        ["alice", true, "198.51.100.7:4500", "relayed", input.now - 95_000],
        ["bob", false, null, null, null]
      ]
    )
  })

  it("says of a client that fell silent that it is not connected, as of three keepalives", () => {
    const heard = (ago: number, path?: "direct") => {
      const activity = new Activity()
      const row = { client: ClientId.make("alice"), bytesIn: 7, bytesOut: 8, refused: 2, flows: 1, activeAgo: null }
      activity.observe({ addresses: [], strangers: [], clients: [{ ...row, heardAgo: ago }] }, input.now)
      const { path: _, ...state } = input.clientStates.get("alice")!
      const clientStates = new Map([["alice", path === undefined ? state : { ...state, path }]])
      return makeStatusReport({ ...input, activity, clientStates }).clients[0]!
    }
    const { bytesIn, bytesOut, flows, lastHeardAt, refused } = heard(1_000)
    assert.deepStrictEqual([bytesIn, bytesOut, flows, refused, lastHeardAt], [7, 8, 1, 2, input.at - 1_000])
    assert.deepStrictEqual(
      [heard(75_000).connected, heard(75_001).connected, heard(75_001, "direct").connected],
      [true, false, true]
    )
  })

  it("tells addresses that do not answer by name, with those who tried, as long as the name has them", () => {
    const activity = new Activity()
    const { id } = mapping("gitlab.corp.internal")
    const row = { mapping: id, tries: 14, sinceAgo: 60_000, repliedAgo: 90_000 }
    const addresses = [
      { ...row, address: "10.20.0.5" },
      { ...row, address: "10.20.0.99" }
    ]
    activity.observe({ addresses, strangers: [], clients: [] }, input.now)
    assert.deepStrictEqual(makeStatusReport({ ...input, activity }).silentAddresses, [
      {
        domain: "gitlab.corp.internal",
        resolver: mapping("gitlab.corp.internal").name.resolver,
        address: "10.20.0.5",
        since: input.at - 60_000,
        tries: 14,
        clients: [mapping("gitlab.corp.internal").client],
        lastReplyAt: input.at - 90_000
      }
    ])
  })

  it("shows each DNS server in a line, silent ones first, with what is odd about it", () => {
    const lines = renderStatus(report).split("\n")
    const at = lines.indexOf("DNS servers: 2")
    assert.deepStrictEqual(
      lines.slice(at + 1, at + 4).map((line) => line.split(/ {2,}/)),
      [
        ["SERVER", "STATE", "LATENCY", "LAST ANSWER", "ODD"],
        ["tls://10.0.1.53:853#dns.corp", "silent for 1m 10s", "-", "never", "-"],
        ["10.0.0.53:53", "answers", "4 ms", "2s ago", "no EDNS, TCP only"]
      ]
    )
  })

  it("says which portal a gateway belongs to, and why it is not connected to it", () => {
    const said = (connected: boolean, detail: string): string =>
      renderStatus(makeStatusReport({ ...input, controlPlane: { kind: "portal", connected, detail } })).split("\n")[1]!

    assert.match(said(true, "joined"), /^portal \[2001:db8::1\]:51820: connected, up 1h 2m/)
    assert.match(said(false, "it refuses\nfor now"), /^portal \[2001:db8::1\]:51820: it refuses\?for now, up/)
  })

  it("names an address that was left out of a DNS answer, why, and what would let it pass", () => {
    assert.include(
      renderStatus(report),
      "left out of DNS answers: 3 addresses that the client cannot reach; 5s ago alice asked for nas.example.org at 10.77.0.10 (not a public address): a resource with cidr: for its network would let it pass"
    )
    const none = { ...input.controlPlane, filtered: { count: 0, last: null } }
    assert.notInclude(renderStatus(makeStatusReport({ ...input, controlPlane: none })), "left out")
  })

  it("keeps the newest names when there are too many, and counts the others", () => {
    const state = (since: number) => ({ _tag: "Resolving", since, attempts: 1, silent: false }) as const
    const mappings = Array.from({ length: maxMappingRows + 5 }, (_, i) => ({
      mapping: mapping(`n${i}.example`),
      state: state(i),
      nextTryAt: null,
      lookups: 1
    }))
    const large = makeStatusReport({ ...input, mappings })
    assert.strictEqual(large.mappings.length, maxMappingRows)
    assert.strictEqual(large.omitted.mappings, 5)
    assert.isTrue(large.mappings.every((row) => row.since >= 5))
  })

  it("has one line for every reason", () => {
    const reasons: ReadonlyArray<Resolver.ResolutionReason> = [
      new Resolver.NameNotFound({ ttlSeconds: 1 }),
      new Resolver.NoAddresses({ ttlSeconds: 1 }),
      new Resolver.ServerFailure({ detail: "SERVFAIL" }),
      new Resolver.Timeout({ afterMs: 10_000 }),
      new Resolver.NoResolver({ detail: "corp has no server" }),
      new Resolver.DestinationRefused({ addresses: ["127.0.0.1", "::1"] }),
      new Resolver.Throttled({ budget: "client_rate" }),
      untilTraffic
    ]
    assert.deepStrictEqual(reasons.map(describeReason), [
      "the name does not exist",
      "the name has no addresses",
      "DNS server failed: SERVFAIL",
      "no DNS answer within 10 s",
      "no DNS server: corp has no server",
      "refused by policy: 127.0.0.1, ::1",
      "waiting: the client has used up its lookups per second",
      "waiting: traffic"
    ])
  })
})

describe("the status for people", () => {
  it("shows gateway, clients, names, authorizations and the counters that moved", () => {
    assert.strictEqual(
      renderStatus(report),
      `gateway ${report.gateway.publicKey}
endpoint [2001:db8::1]:51820, up 1h 2m, packet worker restarted once

left out of DNS answers: 3 addresses that the client cannot reach; 5s ago alice asked for nas.example.org at 10.77.0.10 (not a public address): a resource with cidr: for its network would let it pass

clients: 2, 1 connected
CLIENT  TUNNEL      ENDPOINT                    HANDSHAKE
alice   100.64.0.2  198.51.100.7:4500, relayed  1m 35s ago
bob     100.64.0.3  -                           never

names: 4
CLIENT  NAME                  PROXY                              STATE       ADDRESSES OR REASON                   AGE     NEXT TRY  LOOKUPS
alice   gitlab.corp.internal  100.96.0.1 fd00:2021:1111:8000::1  Resolved    10.20.0.5                             30s     -         3
alice   old.corp.internal     100.96.0.1 fd00:2021:1111:8000::1  Stale       10.20.0.6; no DNS answer within 10 s  10m 0s  in 4s     9
alice   none.corp.internal    100.96.0.1 fd00:2021:1111:8000::1  Unresolved  the name does not exist               5s      in 2s     2
bob     new.corp.internal     100.96.0.1 fd00:2021:1111:8000::1  Resolving   -                                     0s      in 0s     1

DNS servers: 2
SERVER                        STATE              LATENCY  LAST ANSWER  ODD
tls://10.0.1.53:853#dns.corp  silent for 1m 10s  -        never        -
10.0.0.53:53                  answers            4 ms     2s ago       no EDNS, TCP only

authorizations: 2
CLIENT  RESOURCE  EXPIRES
alice   gitlab    never
bob     gitlab    in 1m 30s

access counters
COUNTER    VALUE
questions  3

packet counters
COUNTER             VALUE
outbound.forwarded  12

lookup counters
COUNTER  VALUE
lookups  15

DNS server counters
COUNTER  VALUE
queries  8`
    )
  })

  it("tells that clients ask a private DNS server through the Internet resource, before the tables", () => {
    const dataPlane = { "outbound.private_dns_refused": 7 }
    const text = renderStatus({ ...report, counters: { ...report.counters, dataPlane } })
    assert.include(text, "7 packets to a private DNS server refused")
    assert.isBelow(text.indexOf("a private DNS server"), text.indexOf("clients: 2"))
  })

  it("says what the host lacks of IPv6 and since when, once where one thing follows from another", () => {
    const part = (why: string) => ({ why, since: input.now - 12_000 })
    const ipv6 = { sockets: part("no sockets"), device: part("switched off"), wayOut: part("no route") }
    assert.deepStrictEqual(
      renderStatus(makeStatusReport({ ...input, ipv6 }))
        .split("\n")
        .slice(3, 5),
      ["no sockets; for 12s", "switched off; for 12s"]
    )
    const routes = renderStatus(makeStatusReport({ ...input, ipv6: { ...ipv6, sockets: null, device: null } }))
    assert.strictEqual(routes.split("\n")[3], "no route; for 12s")
  })

  it("says what the host takes away, for how long, how lately, and what to do; what it was changed in, after that", () => {
    const loss = { what: "pings", since: input.now - 60_000, latest: input.now - 20_000, packets: 7 }
    const firewall = { ...input.firewall, lost: [{ ...loss, likely: "the rule A", fix: 'run "x"' }] }
    const wrong = { since: input.now - 5_000, what: ["a route led elsewhere"] }
    const host = { repaired: 2, devicesMade: 0, last: { at: input.now - 3_000, what: ["a down", "b gone"] }, wrong }
    assert.deepStrictEqual(
      renderStatus(makeStatusReport({ ...input, firewall, host }))
        .split("\n")
        .filter((line) => line.startsWith("host:")),
      [
        'host: takes away pings for 1m 0s, 7 so far, the last one 20s ago: most likely the rule A: run "x"',
        "host: wrong for 5s: a route led elsewhere",
        "host: changed by others and put right, 2 times, 3s ago the last time: a down, b gone"
      ]
    )
  })

  it("names the clients that get no replies because the host uses the network of their addresses, worst first", () => {
    const foreignNetworks = [
      { network: "100.100.100.100/32", who: "the host's route 100.100.100.100 dev ts0 table 52" },
      { network: "100.64.0.0/24", who: "the host's route 100.64.0.0/24 dev eth0" }
    ]
    assert.deepStrictEqual(
      renderStatus(makeStatusReport({ ...input, foreignNetworks }))
        .split("\n")
        .slice(3, 5),
      [
        "left to the host: 100.64.0.0/24, in use by the host's route 100.64.0.0/24 dev eth0; no replies to alice bob",
        "left to the host: 100.100.100.100/32, in use by the host's route 100.100.100.100 dev ts0 table 52; no client is in it"
      ]
    )
  })

  it("shows the bugs that the gateway has outlived before anything else, and nothing while there are none", () => {
    const lines = renderStatus({ ...report, counters: { ...report.counters, defects: { Refresh: 2 } } }).split("\n")
    assert.deepStrictEqual(lines.slice(2, 7), [
      "",
      "bugs met and outlived: look into the log, and report them",
      "COUNTER  VALUE",
      "Refresh  2",
      ""
    ])
    assert.notInclude(renderStatus(report), "bugs")
  })

  it("aligns columns by their width on the screen and obeys no control character", () => {
    assert.strictEqual(
      table(
        ["A", "B"],
        [
          ["日本", "x"],
          ["\u001b[2J", "y"]
        ]
      ),
      "A     B\n日本  x\n?[2J  y"
    )
  })

  it("writes ages in the two largest units", () => {
    assert.deepStrictEqual([-5, 59_999, 60_000, 3_599_000, 3_600_000, 90_061_000].map(formatAge), [
      "0s",
      "59s",
      "1m 0s",
      "59m 59s",
      "1h 0m",
      "1d 1h"
    ])
  })
})
