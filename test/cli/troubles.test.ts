import { assert, describe, it } from "@effect/vitest"
import type { StatusReport } from "../../src/cli/statusReport.ts"
import * as Troubles from "../../src/cli/troubles.ts"
import { input, report } from "./fixtures.ts"

const { at } = report

/** A gateway with nothing wrong. */
const healthy: StatusReport = {
  ...report,
  gateway: { ...report.gateway, workerEpoch: 1 },
  controlPlane: { kind: "file", connected: true, detail: "2 clients configured" },
  dnsServers: report.dnsServers!.slice(0, 1),
  mappings: report.mappings.slice(0, 1)
}

/** What is wrong by the change alone, as lines: gravity, what, age in seconds, next. */
const told = (changed: Partial<StatusReport>) =>
  Troubles.troublesOf({ ...healthy, ...changed }).map(({ gravity, next, since, what }) => [
    gravity,
    what,
    since === null ? null : (at - since) / 1000,
    next
  ])

const mapping = report.mappings[0]!

describe("what is wrong", () => {
  it("comes worst first, the older before the younger, each with what it is about", () => {
    const found = Troubles.troublesOf(report)
    assert.deepStrictEqual(
      found.map(({ gravity }) => gravity),
      ["failing", "failing", "odd", "odd", "note"]
    )
    assert.match(found[0]!.what, /^the DNS server tls:/)
    assert.deepStrictEqual(found[1]!.about, ["none.corp.internal", "alice"])
    assert.deepStrictEqual(found.map(Troubles.isWrong), [true, true, true, true, false])
  })

  it("a portal that is away is an outage; state that cannot be kept is a failure", () => {
    const { filtered: _, ...health } = report.controlPlane
    const away = { ...health, kind: "portal", connected: false, detail: "it refuses" } as const
    assert.deepStrictEqual(told({ controlPlane: away }), [
      [
        "outage",
        "not connected to the portal: it refuses",
        null,
        "what is authorized goes on for now; look at the portal and the way to it"
      ]
    ])
    const [[gravity, what] = []] = told({
      controlPlane: { ...away, kind: "file", detail: "disk full" }
    })
    assert.deepStrictEqual([gravity, what], ["failing", "disk full"])
    assert.deepStrictEqual(told({}), [])
  })

  it("a site's PostgreSQL that is away is odd, with how long others' names go on; a failure where new names get no addresses, or its policy does not count", () => {
    const wrong = "PostgreSQL db1:5432: connect ECONNREFUSED — see whether it runs there"
    const site = {
      gateway: 1,
      postgres: { server: null, since: at - 60_000, wrong },
      readAt: at - 60_000,
      reliedUntil: at + 7_200_000,
      untold: 2,
      slots: { own: 1_536, used: 64 },
      gateways: []
    }
    assert.deepStrictEqual(told({ site }), [
      ["odd", `the site is away: ${wrong}`, 60, "all goes on meanwhile, what other gateways gave for 2 h more"]
    ])
    assert.deepStrictEqual(
      told({ site: { ...site, reliedUntil: at - 1 } })[0]?.[3],
      "all goes on meanwhile, but what other gateways gave is forgotten"
    )
    const [[gravity, what] = []] = told({ site: { ...site, gateway: null, slots: { own: 0, used: 0 } } })
    assert.deepStrictEqual([gravity, what], ["failing", `new names get no proxy IPs: ${wrong}`])
    const postgres = { server: "db1:5432", since: at, wrong: null }
    assert.deepStrictEqual(told({ site: { ...site, postgres } }), [])
    const why = "the site has policy 5, and policy 7 goes on here: PostgreSQL was put back — apply again"
    const policy = { inForce: { version: 7, by: "alice@gw1", at }, refused: { why, since: at - 60_000 } }
    assert.deepStrictEqual(told({ site: { ...site, postgres, policy } }), [["failing", why, 60, ""]])
    assert.deepStrictEqual(told({ site: { ...site, postgres, policy: { ...policy, refused: null } } }), [])
  })

  it("another gateway of the site that is silent is odd, unless nobody is heard of, as PostgreSQL is away", () => {
    const gateway = { own: false, clients: 3, master: false, draining: false, heardAt: at - 60_000 }
    const site = {
      gateway: 1,
      postgres: { server: "db1:5432", since: at, wrong: null },
      readAt: at,
      reliedUntil: at,
      untold: 0,
      slots: { own: 1_536, used: 64 },
      gateways: [
        { ...gateway, gateway: 0, alive: false },
        { ...gateway, gateway: 2, alive: true }
      ]
    }
    assert.deepStrictEqual(told({ site }), [
      [
        "odd",
        "gateway 0 of the site is silent",
        60,
        "see whether it runs, and reaches PostgreSQL; when it is gone for good: sallyport forget-gateway 0"
      ]
    ])
    const postgres = { server: null, since: at - 60_000, wrong: "PostgreSQL db1:5432: gone" }
    assert.notInclude(JSON.stringify(told({ site: { ...site, postgres } })), "silent")
  })

  it("a key that is replaced is good to know with who has not moved, odd when its end is near; a key that is gone is odd", () => {
    const rotating = (days: number, keys: ReadonlyArray<"current" | "ending" | "gone">): Partial<StatusReport> => ({
      gateway: { ...healthy.gateway, endingKey: { publicKey: "old", endsAt: at + days * 86_400_000 } },
      clients: healthy.clients.map((row, i) => ({ ...row, gatewayKey: keys[i]! }))
    })
    const files = "give them new files: sallyport client-config NAME"
    assert.deepStrictEqual(told(rotating(30, ["current", "ending"])), [
      [
        "note",
        "bob of 2 clients has not taken the gateway's new key; the one before answers for another 30 d",
        null,
        files
      ]
    ])
    assert.deepStrictEqual(told(rotating(2, ["ending", "ending"])), [
      [
        "odd",
        "alice bob of 2 clients have not taken the gateway's new key; the one before answers for another 2 d",
        null,
        files
      ]
    ])
    assert.deepStrictEqual(told(rotating(2, ["current", "current"])), [
      [
        "note",
        "all clients have the gateway's new key; the one before answers for another 2 d",
        null,
        "sallyport key rotate --finish ends it"
      ]
    ])
    assert.include(
      told(rotating(-1, ["current", "current"]))[0]?.[1],
      "has had its date, and answers until the gateway has run with it for all of its days"
    )
    const clients = healthy.clients.map((row) => ({ ...row, gatewayKey: "gone" as const }))
    assert.deepStrictEqual(told({ clients }), [
      ["odd", "the gateway's key that alice bob had is no more: they cannot connect", null, files]
    ])
  })

  it("packets that the host takes away are an outage, with the likely rule and the fix", () => {
    const loss = { what: "pings", since: at - 60_000, latest: at, packets: 7, likely: "the rule A", fix: 'run "x"' }
    assert.deepStrictEqual(told({ firewall: { judged: true, lost: [loss] } }), [
      ["outage", "the host takes away pings, 7 packets so far: most likely the rule A", 60, 'run "x"']
    ])
    assert.deepStrictEqual(told({ firewall: { judged: true, lost: [] } }), [])
    assert.lengthOf(told({ firewall: { judged: false, lost: [] } }), 1)
    assert.deepStrictEqual(told({ firewall: { judged: true, uncounted: "nft is missing; install it", lost: [] } }), [
      ["odd", "whether the host's firewall lets packets through is not seen: nft is missing; install it", null, ""]
    ])
  })

  it("what cannot be put right on the host is an outage; what was is a note", () => {
    const wrong = { since: at - 5_000, what: ["a route led elsewhere", "no device"] }
    const host = { repaired: 2, last: { at: at - 3_000, what: ["a down", "b gone"] }, wrong }
    assert.deepStrictEqual(told({ host }), [
      ["outage", "host: a route led elsewhere", 5, ""],
      ["outage", "host: no device", 5, ""],
      [
        "note",
        "others changed the host, and it was put right 2 times, the last time: a down, b gone",
        3,
        "find out which program does that"
      ]
    ])
  })

  it("bugs outlived and restarts of the packet worker send the operator to the log", () => {
    const counters = { ...report.counters, defects: { Refresh: 2, Other: 0 } }
    assert.deepStrictEqual(told({ counters }), [
      ["failing", "a bug in Refresh was met and outlived 2 times", null, "look into the log, and report it"]
    ])
    const gateway = { ...report.gateway, workerEpoch: 4 }
    assert.match(String(told({ gateway })[0]![1]), /restarted 3 times/)
    assert.deepStrictEqual(told({ gateway: { ...gateway, workerEpoch: 1 } }), [])
  })

  it("a packet worker that does not run is an outage; a packet path in memory has none", () => {
    const of = (dataPlane: Readonly<Record<string, number>>) =>
      told({ counters: { ...report.counters, dataPlane } }).map(([gravity, what]) => [gravity, what])
    assert.deepStrictEqual(of({ "worker.ready": 0 }), [["outage", "the packet worker does not run"]])
    assert.deepStrictEqual([of({ "worker.ready": 1 }), of({})], [[], []])
  })

  it("a silent DNS server is a failure, and an outage when no other is left", () => {
    const [[one] = []] = told({ dnsServers: report.dnsServers! })
    const [[all] = []] = told({ dnsServers: report.dnsServers!.slice(1) })
    assert.deepStrictEqual([one, all], ["failing", "outage"])
  })

  it("a name without addresses is told once for all its clients, with the longest age", () => {
    const row = { ...mapping, state: "Unresolved", addresses: [], reason: "no DNS answer within 10 s" } as const
    const mappings = [
      { ...row, since: at - 5_000 },
      { ...row, client: "bob", since: at - 9_000 }
    ]
    assert.deepStrictEqual(told({ mappings }), [
      [
        "failing",
        "gitlab.corp.internal has no address for 2 clients: no DNS answer within 10 s",
        9,
        "dig gitlab.corp.internal at the servers of corp"
      ]
    ])
    const [stale] = told({ mappings: [{ ...mapping, state: "Stale", reason: "SERVFAIL" }] })
    assert.deepStrictEqual(stale!.slice(0, 2), [
      "odd",
      "gitlab.corp.internal is served at its last good answer, 10.20.0.5, to alice: SERVFAIL"
    ])
    assert.deepStrictEqual(told({ mappings: [mapping] }), [])
  })

  it("a dead host behind a healthy name is told with its tries of all clients", () => {
    const { domain, resolver } = mapping
    const dead = { domain, resolver, address: "10.20.0.5", since: at - 720_000, tries: 14, lastReplyAt: null }
    const silentAddresses = [{ ...dead, clients: ["alice", "bob", "carol"] }]
    assert.deepStrictEqual(told({ silentAddresses }), [
      [
        "failing",
        "no answer from 10.20.0.5, an address of gitlab.corp.internal: 14 tries of 3 clients",
        720,
        "is the host up, and is there a way to it and back?"
      ]
    ])
    const mappings = [{ ...mapping, addresses: ["10.20.0.5", "10.20.0.6"] }]
    assert.match(String(told({ silentAddresses, mappings })[0]![3]), /^its other addresses are tried/)
  })

  it("a key at two places and a clock that was ahead are told of their client", () => {
    const places = { endpoints: ["192.0.2.1:1", "192.0.2.9:1"], at: at - 2_000 }
    const clients = [{ ...report.clients[0]!, twoPlaces: places, clockWasAheadMs: 3_600_000 }]
    assert.deepStrictEqual(told({ clients }), [
      [
        "failing",
        "the key of alice is in use at two places at a time, 192.0.2.1:1 192.0.2.9:1",
        2,
        "give every device a key of its own"
      ],
      ["note", "the clock of alice was 1 h ahead before", null, "set it by NTP"]
    ])
  })

  it("a client that uses none of the sessions that it asks for is told while it asks, after a few that may have been lost", () => {
    const asks = (unusedAnswers: number, ago: number) => ({
      clients: [{ ...report.clients[0]!, unusedAnswers, lastHeardAt: at - ago }]
    })
    assert.deepStrictEqual(told(asks(3, 4_000)), [
      [
        "failing",
        "alice asks for sessions and uses none: 3 of its handshakes in a row were answered",
        null,
        "is its PresharedKey the one that the gateway has for it? If it is, find out why the gateway's answers do not reach it"
      ]
    ])
    assert.deepStrictEqual([...told(asks(2, 4_000)), ...told(asks(3, 600_001))], [])
  })

  it("missing IPv6 is a note, told once where one thing follows from another", () => {
    const part = (why: string) => ({ why, since: at - 12_000 })
    const ipv6 = { sockets: part("no sockets"), device: part("switched off"), wayOut: part("no route") }
    assert.deepStrictEqual(
      told({ ipv6 }).map((line) => line[1]),
      ["no sockets", "switched off"]
    )
    assert.deepStrictEqual(
      told({ ipv6: { ...ipv6, sockets: null, device: null } }).map((line) => line[1]),
      ["no route"]
    )
    assert.deepStrictEqual(told({ ipv6: input.ipv6 }), [])
  })

  it("a network that the host uses is a failure where clients are in it", () => {
    const network = { network: "100.64.0.0/24", who: "the host's route" }
    assert.deepStrictEqual(
      told({
        foreignNetworks: [
          { ...network, clients: [] },
          { ...network, clients: ["alice", "bob"] }
        ]
      }).map((line) => line.slice(0, 2)),
      [
        ["failing", "100.64.0.0/24 is left to the host, in use by the host's route: no replies to alice bob"],
        ["note", "100.64.0.0/24 is left to the host, in use by the host's route; no client is in it"]
      ]
    )
  })

  it("addresses left out of DNS answers are a note with the last one and what would let it pass", () => {
    assert.deepStrictEqual(told({ controlPlane: report.controlPlane }), [
      [
        "note",
        "3 addresses left out of DNS answers, the last one nas.example.org at 10.77.0.10 (not a public address) for alice",
        5,
        "a resource with cidr: for its network would let it pass"
      ]
    ])
    const none = { ...report.controlPlane, filtered: { count: 0, last: null } }
    assert.deepStrictEqual(told({ controlPlane: none }), [])
  })

  it("private DNS servers asked through the Internet resource are told", () => {
    const counters = { ...report.counters, dataPlane: { "outbound.private_dns_refused": 7 } }
    assert.include(String(told({ counters })[0]![1]), "7 packets to a private DNS server refused")
    assert.deepStrictEqual(told({}), [])
  })

  it("a port that the HTTP listener cannot have is odd, with who to look for; an expired resource is a note", () => {
    const wrong = { why: "EADDRINUSE", since: report.at - 60_000 }
    const expired = ["alice", "bob"].map((client) => ({ client, resource: "lab", expiresAt: report.at - 5_000 }))
    const found = Troubles.troublesOf({ ...report, http: { at: "127.0.0.1:9820", wrong }, expired })

    const taken = found.find(({ what }) => what.includes("dashboard"))
    assert.strictEqual(taken?.gravity, "odd")
    assert.strictEqual(taken?.what, "no metrics, health and dashboard at 127.0.0.1:9820: EADDRINUSE")
    assert.include(taken?.next, '"ss -ltnp sport = :9820"')
    const gone = found.find(({ what }) => what.includes("expired"))
    assert.strictEqual(gone?.gravity, "note")
    assert.strictEqual(gone?.what, "the resource lab has expired: no longer for alice bob")
  })

  it("an unknown device is told with the command that would add it", () => {
    const device = { publicKey: "K=", endpoint: "192.0.2.7:4", handshakes: 1, since: at - 9_000, latest: at - 1_000 }
    assert.deepStrictEqual(told({ unknownDevices: [device] }), [
      [
        "note",
        "an unknown device asks for a session from 192.0.2.7:4, once, its key is K=",
        1,
        "if it is one of yours: sallyport client add NAME --public-key K="
      ]
    ])
  })
})
