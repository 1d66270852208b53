import { stripVTControlCharacters } from "node:util"
import { assert, describe, expect, it } from "@effect/vitest"
import { Effect, Fiber, Schema, Stream } from "effect"
import { TestClock, TestConsole } from "effect/testing"
import { displayWidth } from "effect/cli/CliOutput"
import { ControlClient, ControlError } from "../../src/cli/ControlClient.ts"
import { describeReason } from "../../src/cli/describeReason.ts"
import { formatAge } from "../../src/cli/formatAge.ts"
import { nothingCalled } from "../../src/cli/nothingCalled.ts"
import { checkLine, isAllWell, oneScreen, renderStatus } from "../../src/cli/renderStatus.ts"
import { Screen, showStatus } from "../../src/cli/showStatus.ts"
import { isKnown } from "../../src/cli/statusSections.ts"
import { fit, table, wrap } from "../../src/cli/textTable.ts"
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
    assert.include(renderStatus(before), "2 clients, 1 connected")
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

  const standing = {
    gateway: 2,
    store: { _tag: "Connected", at: "db1:5432", sinceMs: input.now - 60_000 },
    readAt: input.at,
    reliedUntil: null,
    untold: 0,
    slots: { own: 1_536, used: 64 }
  } as const

  it("says since when the site's virtual address is here or not, once that was told", () => {
    const told = (state: "MASTER" | "FAULT" | null) =>
      makeStatusReport({ ...input, site: standing, virtualAddress: state && { state, since: input.now - 12_000 } })

    assert.notInclude(renderStatus(told(null)), "virtual address")
    assert.include(renderStatus(told("MASTER")), "for 1 min; virtual address here (MASTER) for 12 s")
    assert.include(renderStatus(told("FAULT")), "for 1 min; virtual address not here (FAULT) for 12 s")
    assert.deepStrictEqual(told("FAULT").site?.virtualAddress, { state: "FAULT", since: input.at - 12_000 })
  })

  it("says which of several sites it is of", () => {
    const told = makeStatusReport({ ...input, site: { ...standing, name: "tokyo" } })
    assert.include(renderStatus(told), "gateway 2 of site tokyo: PostgreSQL db1:5432 for 1 min")
    const without = makeStatusReport({ ...input, site: { ...standing, name: "tokyo", gateway: null } })
    assert.include(renderStatus(without), "no gateway of site tokyo yet: ")
  })

  it("says since when it gives its clients away, and how many are still here", () => {
    const told = (draining: typeof input.draining) => makeStatusReport({ ...input, site: standing, draining })
    const since = input.now - 12_000

    assert.notInclude(renderStatus(told(null)), "gives its clients away")
    for (const [mayMove, clients, words] of [
      [false, 2, "which the others do not know yet"],
      [true, 2, "2 clients still here"],
      [true, 0, "none is here any more"]
    ] as const) {
      const report = told({ since, mayMove, clients })
      assert.include(renderStatus(report), `for 1 min; gives its clients away for 12 s, ${words}`)
      assert.deepStrictEqual(report.site?.draining, { since: input.at - 12_000, mayMove, clients })
    }
  })

  it("of a gateway of a site tells of the others, as many as have room, and which client is at another one", () => {
    const gateway = {
      own: false,
      alive: true,
      heardAt: input.now,
      clients: 3,
      master: false,
      draining: false,
      about: null
    }
    const gateways = [
      { ...gateway, gateway: 0, alive: false, heardAt: input.now - 60_000 },
      { ...gateway, gateway: 1, clients: 1, master: true, draining: true },
      { ...gateway, gateway: 2, own: true },
      ...Array.from({ length: 9 }, (_, n) => ({ ...gateway, gateway: 3 + n }))
    ]
    const owners = new Map([[ClientId.make("bob"), 1]])
    const met = { now: input.now - 500, dateMs: input.at - 500 - 1_200 }
    const inForce = { version: 7, by: "alice@gw1", at: input.at - 60_000 }
    const sitePolicy = { inForce, refused: { why: "it is too new", since: input.now - 1_000 } }
    const told = makeStatusReport({ ...input, site: standing, sitePolicy, presence: { met, gateways, owners } })
    assert.strictEqual(told.site?.postgres.clockAheadMs, 1_200)
    assert.deepStrictEqual(told.site?.policy, { inForce, refused: { why: "it is too new", since: input.at - 1_000 } })
    assert.deepInclude(told.site?.gateways[0], { gateway: 0, alive: false, heardAt: input.at - 60_000 })
    assert.deepStrictEqual(
      told.clients.map(({ owner }) => owner),
      [undefined, 1]
    )
    const lines = renderStatus(told).split("\n")
    assert.include(lines, "gateway 2 of its site: PostgreSQL db1:5432 for 1 min")
    assert.include(lines, "policy 7 of the site, applied by alice@gw1 1 min ago")
    assert.include(lines, "gateway 0: silent for 1 min")
    assert.include(lines, "gateway 1: 1 client connected, has the virtual address, gives its clients away")
    assert.include(lines, "gateway 8: 3 clients connected")
    assert.include(lines, "and 3 more gateways: sallyport status --all")
    assert.notInclude(lines.join(), "gateway 2: ")
    assert.match(renderStatus(told, { ...oneScreen, clients: true }), /^bob .* at gateway 1 /m)
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
      const carried = { bytesIn: 7, bytesOut: 8, refused: 2, flows: 1, unusedAnswers: 3 }
      const row = { client: ClientId.make("alice"), ...carried, activeAgo: null, heardAgo: ago }
      activity.observe({ addresses: [], strangers: [], clients: [row] }, input.now)
      const { path: _, ...state } = input.clientStates.get("alice")!
      const clientStates = new Map([["alice", path === undefined ? state : { ...state, path }]])
      return makeStatusReport({ ...input, activity, clientStates }).clients[0]!
    }
    const { bytesIn, bytesOut, flows, lastHeardAt, refused, unusedAnswers } = heard(1_000)
    assert.deepStrictEqual([bytesIn, bytesOut, flows, refused, unusedAnswers], [7, 8, 1, 2, 3])
    assert.strictEqual(lastHeardAt, input.at - 1_000)
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

/** A gateway with nothing wrong. */
const healthy: StatusReport = {
  ...report,
  gateway: { ...report.gateway, workerEpoch: 1 },
  controlPlane: { kind: "file", connected: true, detail: "2 clients configured" },
  dnsServers: report.dnsServers!.slice(0, 1),
  mappings: report.mappings.slice(0, 1)
}

const screen = { columns: 80, rows: 24, color: false }

describe("the status for people", () => {
  it("is one screen: what is wrong, worst first, with age and the next step; a summary; tables that still fit", () => {
    expect(renderStatus(report, oneScreen, screen)).toMatchInlineSnapshot(`
      "endpoint [2001:db8::1]:51820, up 1 h 2 min, key BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc…

      4 things are wrong
      ✘ the DNS server tls://10.0.1.53:853#dns.corp is silent, for 1 min 10 s → is it
        up, and is there a way to it?
      ✘ none.corp.internal has no address for alice: the name does not exist, for 5 s
        → dig none.corp.internal at the servers of corp
      ! the packet worker was restarted once → look into the log for why
      ! old.corp.internal is served at its last good answer, 10.20.0.6, to alice: no
        DNS answer within 10 s, for 10 min → dig old.corp.internal at the servers of
        corp
      · 3 addresses left out of DNS answers, the last one nas.example.org at
        10.77.0.10 (not a public address) for alice (5 s ago) → a resource with cidr:
        for its network would let it pass

      2 clients, 1 connected
      4 names: 1 unresolved, 1 stale, 1 resolving, 1 resolved
      2 authorizations
      2 DNS servers, 1 silent

      CLIENT  ENDPOINT                HANDSHAKE       ACTIVE  IN   OUT  FLOWS  REFUSED
      alice   198.51.100.7:4500, re…  1 min 35 s ago  never   0 B  0 B  0      0
      bob     -                       never           never   0 B  0 B  0      0"
    `)
  })

  it("keeps to a narrow screen, cutting tables and counting what has no room", () => {
    expect(renderStatus(report, oneScreen, { ...screen, columns: 40 })).toMatchInlineSnapshot(`
      "endpoint [2001:db8::1]:51820, up 1 h 2 …

      4 things are wrong
      ✘ the DNS server
        tls://10.0.1.53:853#dns.corp is
        silent, for 1 min 10 s → is it up, and
        is there a way to it?
      ✘ none.corp.internal has no address for
        alice: the name does not exist, for
        5 s → dig none.corp.internal at the
        servers of corp
      ! the packet worker was restarted once →
        look into the log for why
        and 2 more: sallyport status | less

      2 clients, 1 connected
      4 names: 1 unresolved, 1 stale, 1 resol…
      2 authorizations
      2 DNS servers, 1 silent

      CLIENT  ENDPOINT  HANDSHA…  ACTIVE  IN …
      alice   198.51.…  1 min 3…  never   0 B…
      bob     -         never     never   0 B…"
    `)
  })

  it("cuts nothing off in a pipe, and has one line for each thing that is wrong", () => {
    expect(renderStatus(report)).toMatchInlineSnapshot(`
      "endpoint [2001:db8::1]:51820, up 1 h 2 min, key BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=

      4 things are wrong
      ✘ the DNS server tls://10.0.1.53:853#dns.corp is silent, for 1 min 10 s → is it up, and is there a way to it?
      ✘ none.corp.internal has no address for alice: the name does not exist, for 5 s → dig none.corp.internal at the servers of corp
      ! the packet worker was restarted once → look into the log for why
      ! old.corp.internal is served at its last good answer, 10.20.0.6, to alice: no DNS answer within 10 s, for 10 min → dig old.corp.internal at the servers of corp
      · 3 addresses left out of DNS answers, the last one nas.example.org at 10.77.0.10 (not a public address) for alice (5 s ago) → a resource with cidr: for its network would let it pass

      2 clients, 1 connected
      4 names: 1 unresolved, 1 stale, 1 resolving, 1 resolved
      2 authorizations
      2 DNS servers, 1 silent

      NAME                  STATE       ADDRESSES OR REASON                   CHANGED     CLIENTS
      none.corp.internal    Unresolved  the name does not exist               5 s ago     alice
      old.corp.internal     Stale       10.20.0.6; no DNS answer within 10 s  10 min ago  alice
      new.corp.internal     Resolving   -                                     0 s ago     bob
      gitlab.corp.internal  Resolved    10.20.0.5                             30 s ago    alice

      CLIENT  TUNNEL      ENDPOINT                    HANDSHAKE       ACTIVE  IN   OUT  FLOWS  REFUSED
      alice   100.64.0.2  198.51.100.7:4500, relayed  1 min 35 s ago  never   0 B  0 B  0      0
      bob     100.64.0.3  -                           never           never   0 B  0 B  0      0"
    `)
  })

  it("has colours where the screen is to have them, and is the same text", () => {
    const colored = renderStatus(report, oneScreen, { ...screen, color: true })
    assert.include(colored, "\u001b[31m✘ the DNS server")
    assert.strictEqual(stripVTControlCharacters(colored), renderStatus(report, oneScreen, screen))
    assert.notInclude(renderStatus(report, oneScreen, screen), "\u001b")
  })

  it("says that nothing is wrong, and shows clients and names then", () => {
    expect(renderStatus(healthy, oneScreen, screen)).toMatchInlineSnapshot(`
      "endpoint [2001:db8::1]:51820, up 1 h 2 min, key BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc…

      nothing is wrong

      2 clients, 1 connected
      1 name: 1 resolved
      2 authorizations
      1 DNS server, all answer

      NAME                  STATE     ADDRESSES OR REASON  CHANGED   CLIENTS
      gitlab.corp.internal  Resolved  10.20.0.5            30 s ago  alice

      CLIENT  ENDPOINT                HANDSHAKE       ACTIVE  IN   OUT  FLOWS  REFUSED
      alice   198.51.100.7:4500, re…  1 min 35 s ago  never   0 B  0 B  0      0
      bob     -                       never           never   0 B  0 B  0      0"
    `)
  })

  it("stays one readable screen with 200 clients and 500 names, whatever is wrong with them", () => {
    const clients = Array.from({ length: 200 }, (_, i) => ({ ...report.clients[i % 2]!, name: `client-${i}` }))
    const mappings = Array.from({ length: 500 }, (_, i) => ({
      ...report.mappings[i % 4]!,
      domain: `host-${i}.corp.internal`,
      client: `client-${i % 200}`
    }))
    const large = { ...report, clients, mappings }
    for (const columns of [40, 80, 200]) {
      for (const rows of [24, 50]) {
        const lines = renderStatus(large, oneScreen, { ...screen, columns, rows }).split("\n")
        assert.isBelow(lines.length, rows)
        assert.isTrue(lines.every((line) => displayWidth(line) <= columns))
      }
    }
    assert.match(renderStatus(large, oneScreen, screen), /^ {2}and \d+ more: sallyport status \| less$/m)
    const healthyOne = { ...healthy, clients, mappings: mappings.filter(({ state }) => state === "Resolved") }
    const text = renderStatus(healthyOne, oneScreen, screen)
    assert.isBelow(text.split("\n").length, 24)
    assert.match(text, /^and \d+ more: sallyport status --names$/m)
    const all = renderStatus(large, { ...oneScreen, clients: true, names: true }, screen)
    for (const name of ["client-199", "host-499.corp.int"]) assert.include(all, name)
  })

  it("shows all clients, all names with the DNS servers, and all counters that moved when asked", () => {
    expect(renderStatus(report, { ...oneScreen, clients: true, names: true, counters: true })).toMatchInlineSnapshot(`
      "4 things are wrong: sallyport status says what

      CLIENT  TUNNEL      ENDPOINT                    HANDSHAKE       ACTIVE  IN   OUT  FLOWS  REFUSED
      alice   100.64.0.2  198.51.100.7:4500, relayed  1 min 35 s ago  never   0 B  0 B  0      0
      bob     100.64.0.3  -                           never           never   0 B  0 B  0      0

      NAME                  STATE       ADDRESSES OR REASON                   CHANGED     CLIENTS
      none.corp.internal    Unresolved  the name does not exist               5 s ago     alice
      old.corp.internal     Stale       10.20.0.6; no DNS answer within 10 s  10 min ago  alice
      new.corp.internal     Resolving   -                                     0 s ago     bob
      gitlab.corp.internal  Resolved    10.20.0.5                             30 s ago    alice

      DNS SERVER                    STATE                  LATENCY  LAST ANSWER  ODD
      tls://10.0.1.53:853#dns.corp  silent for 1 min 10 s  -        never        -
      10.0.0.53:53                  answers                4 ms     2 s ago      no EDNS, TCP only

      ACCESS
      questions  3

      PACKETS
      outbound.forwarded  12

      LOOKUPS
      lookups  15

      DNS SERVERS
      queries      8"
    `)
  })

  it("shows what clients carry", () => {
    const busy = { bytesIn: 1_234, bytesOut: 56_700_000, flows: 3, refused: 2, lastActivityAt: input.now - 4_000 }
    const clients = report.clients.map((client) => (client.name === "alice" ? { ...client, ...busy } : client))
    const [head, row] = renderStatus({ ...healthy, clients }, { ...oneScreen, clients: true }).split("\n")
    assert.match(head!, /ACTIVE +IN +OUT +FLOWS +REFUSED$/)
    assert.match(row!, /1 min 35 s ago +4 s ago +1\.2 kB +56\.7 MB +3 +2$/)
  })

  it("shows which key of the gateway clients have while that is replaced, though all have the new one, or it is gone", () => {
    const shown = (of: StatusReport) => renderStatus(of, { ...oneScreen, clients: true })
    const endingKey = { publicKey: "old", endsAt: healthy.at + 86_400_000 }
    const all = (gatewayKey: "current" | "gone") => healthy.clients.map((row) => ({ ...row, gatewayKey }))
    const rotating = { ...healthy, gateway: { ...healthy.gateway, endingKey }, clients: all("current") }

    assert.match(shown(rotating), /^alice +\S+ +new /m)
    assert.match(shown({ ...healthy, clients: all("gone") }), /^alice +\S+ +gone /m)
    assert.notMatch(shown({ ...healthy, clients: all("current") }), / KEY /)
  })

  it("shows all about one client or one name, with what is wrong with it only", () => {
    expect(renderStatus(report, { ...oneScreen, target: "bob" })).toMatchInlineSnapshot(`
      "nothing is wrong

      CLIENT      bob
      public key  AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=
      tunnel      100.64.0.3 fd00:2021:1111::3
      last heard  never

      CLIENT  TUNNEL      ENDPOINT  HANDSHAKE  ACTIVE  IN   OUT  FLOWS  REFUSED
      bob     100.64.0.3  -         never      never   0 B  0 B  0      0

      RESOURCE  EXPIRES
      gitlab    in 1 min 30 s

      NAME               PROXY       STATE      ADDRESSES OR REASON  CHANGED  NEXT TRY  LOOKUPS
      new.corp.internal  100.96.0.1  Resolving  -                    0 s ago  in 0 s    1"
    `)
    expect(renderStatus(report, { ...oneScreen, target: "Old.corp.internal." })).toMatchInlineSnapshot(`
      "1 thing is wrong
      ! old.corp.internal is served at its last good answer, 10.20.0.6, to alice: no DNS answer within 10 s, for 10 min → dig old.corp.internal at the servers of corp

      NAME       old.corp.internal
      resolver   corp
      resources  gitlab

      CLIENT  PROXY       STATE  ADDRESSES OR REASON                   CHANGED     NEXT TRY  LOOKUPS
      alice   100.96.0.1  Stale  10.20.0.6; no DNS answer within 10 s  10 min ago  in 4 s    9"
    `)
  })

  it("shows an expired grant with its client, and how long ago that was", () => {
    const expired = [{ client: "bob", resource: "services", expiresAt: report.at - 7_200_000 }]
    const text = renderStatus({ ...healthy, expired }, { ...oneScreen, target: "bob" })

    assert.include(text, "· the resource services has expired: no longer for bob (2 h ago) → write a later expires:")
    assert.match(text, /^services +expired 2 h ago$/m)
  })

  it.effect(
    "is shown again every two seconds with --watch: in the same place on a terminal, one after the other in a pipe",
    () =>
      Effect.gen(function* () {
        const answers = [JSON.stringify(healthy), JSON.stringify(report)]
        const watched = (size: typeof screen | null) =>
          Effect.gen(function* () {
            let asked = 0
            const client = ControlClient.of({
              isListening: () => Effect.succeed(true),
              request: () =>
                asked === 2
                  ? Effect.fail(new ControlError({ message: "no gateway is running" }))
                  : Effect.sync(() => answers[asked++]!),
              lines: () => Stream.empty
            })
            const before = (yield* TestConsole.logLines).length
            const watch = showStatus({ as: "text", socket: "/s", watch: true }).pipe(
              Effect.provideService(ControlClient, client),
              Effect.provideService(Screen, () => size)
            )
            const fiber = yield* Effect.forkChild(watch)
            yield* TestClock.adjust("4 seconds")
            yield* Fiber.interrupt(fiber)
            return (yield* TestConsole.logLines).slice(before)
          })
        const clear = "\u001b[H\u001b[2J"

        assert.deepStrictEqual(yield* watched(screen), [
          clear + renderStatus(healthy, oneScreen, screen),
          clear + renderStatus(report, oneScreen, screen),
          `${clear}no gateway is running`
        ])
        assert.deepStrictEqual(yield* watched(null), [
          `${renderStatus(healthy)}\n`,
          `${renderStatus(report)}\n`,
          "no gateway is running\n"
        ])
      })
  )

  it("says that nothing is called so, and what may have been meant", () => {
    assert.strictEqual(
      nothingCalled(report, "alize"),
      'no client and no name in use is called "alize" — did you mean alice?'
    )
    assert.match(nothingCalled(report, "\u001b[2J"), /called "\?\[2J" — sallyport explain/)
    assert.deepStrictEqual(
      ["bob", "Old.corp.internal.", "alize"].map((target) => isKnown(report, target)),
      [true, true, false]
    )
  })

  it("gives a monitor one line: how much is wrong and the worst of it, or a summary", () => {
    assert.isFalse(isAllWell(report))
    assert.strictEqual(
      checkLine(report),
      "4 things are wrong: the DNS server tls://10.0.1.53:853#dns.corp is silent, for 1 min 10 s"
    )
    assert.isTrue(isAllWell(healthy))
    assert.strictEqual(
      checkLine(healthy),
      "OK: 2 clients, 1 connected; 1 name: 1 resolved; 2 authorizations; 1 DNS server, all answer"
    )
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

  it("gives the widest columns up first where the screen is narrow, and breaks lines between words", () => {
    assert.strictEqual(
      table(["A", "B"], [["a".repeat(30), "short"]], 20),
      `A${" ".repeat(14)}B\n${"a".repeat(12)}…  short`
    )
    assert.strictEqual(fit("日本語", 5), "日本…")
    assert.deepStrictEqual(wrap("! it is so for 12 s now", 12, 2), ["! it is so", "  for 12 s", "  now"])
  })

  it("writes ages in the two largest units", () => {
    assert.deepStrictEqual([-5, 59_999, 60_000, 3_599_000, 3_600_000, 90_061_000].map(formatAge), [
      "0 s",
      "59 s",
      "1 min",
      "59 min 59 s",
      "1 h",
      "1 d 1 h"
    ])
  })
})
