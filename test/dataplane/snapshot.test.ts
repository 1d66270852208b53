import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import type { Command, SetAddresses, SetMapping } from "../../src/dataplane/commands.ts"
import type { ClientState } from "../../src/dataplane/notices.ts"
import { Snapshot } from "../../src/dataplane/snapshot.ts"
import { addresses, clientId, mappingId, packetsAt, policy, resourceId, upsertClient } from "../support/engineWorld.ts"
import { network } from "../support/engineSteps.ts"

const app = (n: number): Command => network("app", null, { client: clientId(n), kind: "dns" })

const mapping = (n: number, domain: string, proxies: ReadonlyArray<string>, generation = 1): SetMapping => ({
  _tag: "SetMapping",
  mapping: mappingId(n, domain),
  client: clientId(n),
  resource: resourceId("app"),
  proxyIps: proxies,
  generation
})

const remove = (n: number, domain: string): Command => ({ _tag: "RemoveMapping", mapping: mappingId(n, domain) })

const state = (n: number, over: Partial<ClientState> = {}): ClientState => ({
  _tag: "ClientState",
  epoch: 1,
  client: clientId(n),
  connected: true,
  endpoint: { address: "198.51.100.7", port: 4_000 },
  lastTai64n: "40".repeat(12),
  handshakeAt: 1_000,
  ...over
})

const snapshotOf = (...commands: ReadonlyArray<Command>): Snapshot => {
  const snapshot = new Snapshot()
  for (const command of commands) snapshot.apply(command)
  return snapshot
}

/** Every kind of command over two clients, two domains and two proxies. */
const vocabulary: ReadonlyArray<Command> = [1, 2].flatMap((n) => [
  upsertClient(n),
  { ...upsertClient(n), keepalive: 25 },
  { _tag: "RemoveClient", client: clientId(n) },
  app(n),
  network("lab", "10.20.0.0/16", { client: clientId(n) }),
  { _tag: "RevokeResource", client: clientId(n), resource: resourceId("app") },
  mapping(n, "a.corp", ["100.96.0.4", "100.96.0.5"]),
  mapping(n, "b.corp", ["100.96.0.5"]),
  mapping(n, "b.corp", ["100.96.0.9"], 2),
  addresses(n, 1, "Resolving", [], "a.corp"),
  addresses(n, 1, "Resolved", ["10.20.0.10"], "a.corp"),
  addresses(n, 3, "Unresolved", [], "a.corp"),
  addresses(n, 2, "Resolved", ["10.20.0.11"], "b.corp"),
  remove(n, "a.corp"),
  policy
])

const Commands = Schema.Array(Schema.Literals(vocabulary.map((_, i) => i)))
const commandsOf = (indices: ReadonlyArray<number>): ReadonlyArray<Command> => indices.map((i) => vocabulary[i]!)

describe("Snapshot", () => {
  it("replays policy, clients and resources first, then each mapping before its addresses", () => {
    const resolved = addresses(1, 1, "Resolved", ["10.20.0.10"], "a.corp")
    const commands = [upsertClient(1), app(1), mapping(1, "a.corp", ["100.96.0.4"]), resolved, upsertClient(2), policy]
    assert.deepStrictEqual(
      snapshotOf(...commands)
        .replay(0)
        .map((command) => command._tag),
      ["SetPolicy", "UpsertClient", "UpsertClient", "SetResource", "SetMapping", "SetAddresses"]
    )
  })

  it("replays mappings with recent traffic before others", () => {
    const domains = ["a.corp", "b.corp", "c.corp"]
    const snapshot = snapshotOf(upsertClient(1), app(1), ...domains.map((d, i) => mapping(1, d, [`100.96.0.${4 + i}`])))
    snapshot.traffic(mappingId(1, "c.corp"), 10)
    snapshot.traffic(mappingId(1, "b.corp"), 20)
    snapshot.traffic(mappingId(1, "unknown"), 30)
    assert.deepStrictEqual(
      snapshot.replay(30).flatMap((c) => (c._tag === "SetMapping" ? [c.mapping] : [])),
      ["b.corp", "c.corp", "a.corp"].map((d) => mappingId(1, d))
    )
  })

  it("replays nothing of a client that was removed, nor what came for it later", () => {
    const late: ReadonlyArray<Command> = [app(1), mapping(1, "a.corp", ["100.96.0.4"])]
    const snapshot = snapshotOf(upsertClient(1), ...late, addresses(1, 1, "Resolved", ["10.20.0.10"], "a.corp"))
    snapshot.observe(state(1))
    snapshot.apply({ _tag: "RemoveClient", client: clientId(1) })
    for (const command of late) snapshot.apply(command)
    snapshot.observe(state(1))
    assert.deepStrictEqual(snapshot.replay(0), [])
    assert.strictEqual(snapshot.clientStates.size, 0)
  })

  it.each(["portal", "standalone"] as const)(
    "replays of a resource that was revoked in mode %s no more than which proxies it had, and all of the others",
    (mode) => {
      const lab = network("lab", "10.20.0.0/16")
      const granted = mapping(1, "a.corp", ["100.96.0.4"], 2)
      const snapshot = snapshotOf({ ...policy, packets: packetsAt[mode] }, upsertClient(1), app(1), lab, granted)
      snapshot.apply(addresses(1, 7, "Resolved", ["10.20.0.10"], "a.corp"))
      snapshot.apply({ _tag: "RevokeResource", client: clientId(1), resource: resourceId("app") })
      const kept = mode === "standalone" ? [{ ...granted, generation: 0 }] : []
      assert.deepStrictEqual(snapshot.replay(0).slice(1), [upsertClient(1), lab, ...kept])

      const again = [app(1), { ...granted, generation: 1 }, addresses(1, 1, "Resolved", ["10.20.0.11"], "a.corp")]
      for (const command of again) snapshot.apply(command)
      assert.deepStrictEqual(snapshot.replay(0).slice(3), again)
      snapshot.apply({ _tag: "RevokeResource", client: clientId(1), resource: resourceId("app") })
      snapshot.apply(remove(1, "a.corp"))
      assert.deepStrictEqual(snapshot.replay(0).slice(1), [upsertClient(1), lab])
    }
  )

  it("keeps the latest lookup and the latest generation, whatever comes late", () => {
    const second = mapping(1, "a.corp", ["100.96.0.9"], 2)
    const answer = addresses(1, 5, "Resolved", ["10.20.0.10"], "a.corp")
    const late: ReadonlyArray<Command> = [
      mapping(1, "a.corp", ["100.96.0.4"], 1),
      addresses(1, 4, "Unresolved", [], "a.corp")
    ]
    const snapshot = snapshotOf(upsertClient(1), app(1), late[0]!, second, answer, ...late)
    assert.deepStrictEqual(snapshot.replay(0).slice(2), [second, answer])
  })

  it("gives a proxy to the mapping that took it last, whichever had traffic", () => {
    const snapshot = snapshotOf(
      upsertClient(1),
      app(1),
      mapping(1, "a.corp", ["100.96.0.4", "100.96.0.5"]),
      mapping(1, "b.corp", ["100.96.0.5"])
    )
    for (const domain of ["a.corp", "b.corp"]) {
      snapshot.traffic(mappingId(1, domain), 99)
      const replayed = snapshot.replay(99).filter((c): c is SetMapping => c._tag === "SetMapping")
      const owners = replayed.flatMap((c) => c.proxyIps.map((proxy) => `${proxy} ${c.mapping}`))
      assert.deepStrictEqual(owners.toSorted(), [
        `100.96.0.4 ${mappingId(1, "a.corp")}`,
        `100.96.0.5 ${mappingId(1, "b.corp")}`
      ])
    }
  })

  it("revives a client with its last endpoint and timestamp, and calls it when it was active in the last 3 minutes", () => {
    const snapshot = snapshotOf(upsertClient(1))
    snapshot.observe(state(1))
    const revived = (now: number) => snapshot.replay(now)[0]
    assert.deepInclude(revived(181_000), {
      endpoint: { address: "198.51.100.7", port: 4_000 },
      lastTai64n: "40".repeat(12),
      initiate: true
    })
    assert.deepInclude(revived(181_001), { initiate: false })
    snapshot.observe(state(1, { handshakeAt: null }))
    assert.deepInclude(revived(2_000), { initiate: false })
  })

  it("says that nobody is connected when there is a new worker", () => {
    const snapshot = snapshotOf(upsertClient(1))
    snapshot.observe(state(1))
    snapshot.disconnect()
    assert.deepStrictEqual([...snapshot.clientStates.values()], [state(1, { connected: false })])
  })

  it.prop("is the same after any command is sent twice", [Commands], ([indices]) => {
    const once = snapshotOf(...commandsOf(indices))
    const twice = snapshotOf(...commandsOf(indices).flatMap((command) => [command, command]))
    assert.deepStrictEqual(twice.replay(0), once.replay(0))
  })

  it.prop("comes out of its own replay unchanged", [Commands], ([indices]) => {
    const replay = snapshotOf(...commandsOf(indices)).replay(0)
    assert.deepStrictEqual(snapshotOf(...replay).replay(0), replay)
  })

  it.prop("keeps the addresses of the highest lookup", [Schema.Array(Schema.Literals([1, 2, 3, 4]))], ([numbers]) => {
    const snapshot = snapshotOf(upsertClient(1), app(1), mapping(1, "a.corp", ["100.96.0.4"]))
    for (const n of numbers) snapshot.apply(addresses(1, n, "Resolved", [`10.20.0.${n}`], "a.corp"))
    const last = snapshot.replay(0).find((c): c is SetAddresses => c._tag === "SetAddresses")
    assert.strictEqual(last?.lookup, numbers.length === 0 ? undefined : Math.max(...numbers))
  })
})

describe("Snapshot of connections by ICE", () => {
  const ice = {
    local: { username: "gw", password: "gateway" },
    remote: { username: "cl", password: "client" },
    role: "controlled"
  } as const
  const byIce = { ...upsertClient(1), ice }
  const add = (candidate: string, n = 1): Command => ({ _tag: "AddCandidate", client: clientId(n), candidate })
  const remove = (candidate: string): Command => ({ _tag: "RemoveCandidate", client: clientId(1), candidate })
  const relays: Command = { _tag: "SetRelays", relays: [] }
  const hosts: Command = { _tag: "SetHostCandidates", addresses: [{ address: "192.0.2.1", port: 1 }] }
  const candidatesOf = (snapshot: Snapshot) =>
    snapshot.replay(0).flatMap((command) => (command._tag === "AddCandidate" ? [command.candidate] : []))

  it("replays hosts and relays before clients, and each client before its candidates; control events never", () => {
    const control: Command = { _tag: "SendControl", client: clientId(1), event: 1, payload: new Uint8Array() }
    const snapshot = snapshotOf(byIce, add("a"), control, relays, hosts, policy)
    assert.deepStrictEqual(snapshot.replay(0), [policy, hosts, relays, byIce, add("a")])
  })

  it("keeps 64 candidates of a client at most, without those removed, and none of a client without ICE", () => {
    const many = Array.from({ length: 70 }, (_, i) => `c${i}`)
    const snapshot = snapshotOf(byIce, ...many.map((text) => add(text)), remove("c3"), upsertClient(2), add("x", 2))
    assert.deepStrictEqual(
      candidatesOf(snapshot),
      many.slice(0, 64).filter((text) => text !== "c3")
    )
  })

  it("forgets a candidate that is taken back with another priority than it was told with", () => {
    const relayed = (priority: number) =>
      `candidate:1 1 udp ${priority} 203.0.113.7 50000 typ relay raddr 0.0.0.0 rport 0`
    const snapshot = snapshotOf(byIce, add(relayed(37_748_991)), remove(relayed(33_554_687)))
    assert.deepStrictEqual(candidatesOf(snapshot), [])
  })

  it("keeps candidates, the first preshared key and the last one while the connection is the same, as the worker does", () => {
    const snapshot = snapshotOf({ ...byIce, presharedKey: "first" }, add("a"), { ...byIce, presharedKey: "second" })
    assert.deepStrictEqual(snapshot.replay(0), [
      { ...byIce, presharedKey: "first" },
      { ...byIce, presharedKey: "second" },
      add("a")
    ])
    const other = { ...byIce, ice: { ...ice, local: { username: "gw", password: "other" } } }
    snapshot.apply(other)
    assert.deepStrictEqual(snapshot.replay(0), [other])
  })

  it("forgets the candidates of a lost connection, and takes the next preshared key then", () => {
    const snapshot = snapshotOf({ ...byIce, presharedKey: "first" }, add("a"))
    snapshot.lost(clientId(1))
    snapshot.apply(add("b"))
    assert.deepStrictEqual(candidatesOf(snapshot), [])
    snapshot.apply({ ...byIce, presharedKey: "second" })
    snapshot.apply(add("c"))
    assert.deepStrictEqual(snapshot.replay(0), [{ ...byIce, presharedKey: "second" }, add("c")])
  })

  it("has a client that was reached directly called where it was; not one that was reached by relay", () => {
    const snapshot = snapshotOf(byIce)
    const seen = { ...state(1), endpoint: { address: "198.51.100.1", port: 5 }, handshakeAt: 1_000 }
    snapshot.observe({ ...seen, path: "direct" })
    assert.deepInclude(snapshot.replay(2_000)[0], { endpoint: seen.endpoint, initiate: true })
    snapshot.observe({ ...seen, path: "relayed" })
    assert.deepInclude(snapshot.replay(2_000)[0], { endpoint: null, initiate: true })
  })
})
