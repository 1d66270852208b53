import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import type {
  Command,
  KnownEndpoint,
  SetAddresses,
  SetKnownEndpoints,
  SetMapping,
  UpsertClient
} from "../../src/dataplane/commands.ts"
import { DesiredState } from "../../src/dataplane/DesiredState.ts"
import type { ClientState } from "../../src/dataplane/notices.ts"
import type { Order } from "../../src/dataplane/orders.ts"
import {
  addresses,
  clientId,
  mappingId,
  packetsAt,
  policy,
  resourceId,
  setMapping,
  upsertClient
} from "../support/engineWorld.ts"
import { network } from "../support/engineSteps.ts"

const app = (n: number) => network("app", null, { client: clientId(n), kind: "dns" })

const remove = (n: number, domain: string): Command => ({ _tag: "RemoveMapping", mapping: mappingId(n, domain) })

const state = (n: number, over: Partial<ClientState> = {}): ClientState => ({
  _tag: "ClientState",
  epoch: 1,
  client: clientId(n),
  publicKey: upsertClient(n).publicKey,
  connected: true,
  endpoint: { address: "198.51.100.7", port: 4_000 },
  local: null,
  lastTai64n: "40".repeat(12),
  sentTick: 0,
  gatewayKey: null,
  behindMs: 0,
  handshakeAt: 1_000,
  ...over
})

const stateOf = (...commands: ReadonlyArray<Command>): DesiredState => {
  const desired = new DesiredState()
  for (const command of commands) desired.apply(command)
  return desired
}

/** Without the numbers, which say no more than whether something is the same. */
const plain = (orders: ReadonlyArray<Order>): ReadonlyArray<unknown> =>
  orders.map((order) => {
    const { ...rest } = order as unknown as Record<string, unknown>
    for (const number of ["number", "connection", "flows", "version"]) delete rest[number]
    return rest
  })

const replayOf = (...commands: ReadonlyArray<Command>) => plain(stateOf(...commands).replay(0))

const placed = ({ _tag, ...client }: UpsertClient, laterPresharedKey: string | null = null) => ({
  ice: null,
  laterPresharedKey,
  ...client,
  _tag: "PlaceClient"
})

const placedMapping = ({ client, mapping, proxyIps, resources }: SetMapping) => ({
  _tag: "PlaceMapping",
  mapping,
  client,
  resources,
  proxyIps
})

const key = (fill: number): string => Buffer.alloc(32, fill).toString("base64")

/** Every kind of command over two clients, two domains and two proxies. */
const vocabulary: ReadonlyArray<Command> = [1, 2].flatMap((n) => [
  upsertClient(n),
  { ...upsertClient(n), keepalive: 25 },
  { _tag: "RemoveClient", client: clientId(n) },
  app(n),
  network("lab", "10.20.0.0/16", { client: clientId(n) }),
  { _tag: "RevokeResource", client: clientId(n), resource: resourceId("app") },
  setMapping(n, "a.corp", ["100.96.0.4", "100.96.0.5"]),
  setMapping(n, "b.corp", ["100.96.0.5"]),
  setMapping(n, "b.corp", ["100.96.0.9"], 2),
  addresses(n, 1, "Resolving", [], "a.corp"),
  addresses(n, 1, "Resolved", ["10.20.0.10"], "a.corp"),
  addresses(n, 3, "Unresolved", [], "a.corp"),
  addresses(n, 2, "Resolved", ["10.20.0.11"], "b.corp"),
  remove(n, "a.corp"),
  { _tag: "LapseMapping", mapping: mappingId(n, "a.corp") },
  { _tag: "SetKeys", privateKey: key(40 + n), endingKey: n === 1 ? null : key(41) },
  policy
])

const Commands = Schema.Array(Schema.Literals(vocabulary.map((_, i) => i)))
const commandsOf = (indices: ReadonlyArray<number>): ReadonlyArray<Command> => indices.map((i) => vocabulary[i]!)

describe("the desired state", () => {
  it("replays policy, clients and resources first, then each mapping before its addresses", () => {
    const resolved = addresses(1, 1, "Resolved", ["10.20.0.10"], "a.corp")
    const commands = [
      upsertClient(1),
      app(1),
      setMapping(1, "a.corp", ["100.96.0.4"]),
      resolved,
      upsertClient(2),
      policy
    ]
    assert.deepStrictEqual(
      stateOf(...commands)
        .replay(0)
        .map((order) => order._tag),
      ["SetPolicy", "PlaceClient", "PlaceClient", "SetResource", "PlaceMapping", "SetAddresses"]
    )
  })

  it("replays the gateway's keys, the last ones, before any client; malformed ones are told without being shown", () => {
    const keys = { _tag: "SetKeys", privateKey: key(42), endingKey: key(41) } as const
    const desired = stateOf({ ...keys, privateKey: key(41), endingKey: null }, upsertClient(1), keys)
    assert.deepStrictEqual(desired.apply({ ...keys, endingKey: "secret" }), [])
    assert.deepStrictEqual(desired.replay(0).slice(0, 1), [keys])
    assert.deepStrictEqual(desired.faults, ["the gateway's keys were ignored: malformed key"])
  })

  it("knows the gateway's key that each client has proved: the worker's word, else the one that was restored", () => {
    const desired = stateOf({ ...upsertClient(1), gatewayKey: key(41) }, { ...upsertClient(2), gatewayKey: key(41) })
    desired.observe(state(1, { gatewayKey: key(42) }))
    desired.apply({ ...upsertClient(1), presharedKey: key(5) })
    const known = { [clientId(1)]: key(42), [clientId(2)]: key(41) }
    assert.deepStrictEqual(Object.fromEntries(desired.gatewayKeys()), known)
    assert.deepStrictEqual(
      desired
        .replay(0)
        .flatMap((order) => (order._tag === "PlaceClient" ? [`${order.client} ${order.gatewayKey}`] : [])),
      [`${clientId(1)} ${key(42)}`, `${clientId(2)} ${key(41)}`]
    )
    // Another device of the client has proved nothing.
    desired.apply({ ...upsertClient(1), publicKey: key(9), gatewayKey: null })
    assert.deepStrictEqual(Object.fromEntries(desired.gatewayKeys()), { [clientId(2)]: key(41) })
  })

  it("replays mappings with recent traffic before others", () => {
    const domains = ["a.corp", "b.corp", "c.corp"]
    const desired = stateOf(upsertClient(1), app(1), ...domains.map((d, i) => setMapping(1, d, [`100.96.0.${4 + i}`])))
    desired.traffic(mappingId(1, "c.corp"), 10)
    desired.traffic(mappingId(1, "b.corp"), 20)
    desired.traffic(mappingId(1, "unknown"), 30)
    assert.deepStrictEqual(
      desired.replay(30).flatMap((order) => (order._tag === "PlaceMapping" ? [order.mapping] : [])),
      ["b.corp", "c.corp", "a.corp"].map((d) => mappingId(1, d))
    )
  })

  it("replays nothing of a client that was removed, nor what came for it later", () => {
    const late: ReadonlyArray<Command> = [app(1), setMapping(1, "a.corp", ["100.96.0.4"])]
    const desired = stateOf(upsertClient(1), ...late, addresses(1, 1, "Resolved", ["10.20.0.10"], "a.corp"))
    desired.observe(state(1))
    desired.apply({ _tag: "RemoveClient", client: clientId(1) })
    for (const command of late) assert.deepStrictEqual(desired.apply(command), [])
    desired.observe(state(1))
    assert.deepStrictEqual(desired.replay(0), [])
    assert.strictEqual(desired.clientStates.size, 0)
  })

  it.each(["portal", "standalone"] as const)(
    "keeps of a resource that was revoked by a %s which proxies its names had, until they lapse, and all of the others",
    (mode) => {
      const lab = network("lab", "10.20.0.0/16")
      const granted = setMapping(1, "a.corp", ["100.96.0.4"], 2)
      const first = addresses(1, 7, "Resolved", ["10.20.0.10"], "a.corp")
      const revoke = { _tag: "RevokeResource", client: clientId(1), resource: resourceId("app") } as const
      const lapse = { _tag: "LapseMapping", mapping: mappingId(1, "a.corp") } as const
      const desired = stateOf({ ...policy, packets: packetsAt[mode] }, upsertClient(1), app(1), lab, granted, first)
      const placedBefore = desired.replay(0).find((order) => order._tag === "PlaceMapping")
      assert.deepStrictEqual(desired.apply(lapse), [])
      assert.deepStrictEqual(desired.apply(revoke), [
        revoke,
        { _tag: "SuspendMapping", mapping: mappingId(1, "a.corp") }
      ])
      assert.deepStrictEqual(plain(desired.replay(0).slice(1)), [placed(upsertClient(1)), lab, placedMapping(granted)])

      // The worker has it where it left off.
      const answer = addresses(1, 1, "Resolved", ["10.20.0.11"], "a.corp")
      assert.isNotEmpty(desired.apply(app(1)))
      assert.deepStrictEqual(desired.apply({ ...granted, generation: 1 }), [])
      assert.isNotEmpty(desired.apply(answer))
      assert.deepStrictEqual(desired.replay(0).slice(3), [app(1), placedBefore!, answer])

      desired.apply(revoke)
      const [lapsed] = desired.apply(lapse)
      assert.strictEqual(lapsed?._tag, mode === "standalone" ? "PlaceMapping" : "RemoveMapping")
      assert.notDeepEqual(lapsed, placedBefore)
      const left = mode === "standalone" ? [placedMapping(granted)] : []
      assert.deepStrictEqual(plain(desired.replay(0).slice(1)), [placed(upsertClient(1)), lab, ...left])
      desired.apply(remove(1, "a.corp"))
      assert.deepStrictEqual(plain(desired.replay(0).slice(1)), [placed(upsertClient(1)), lab])
    }
  )

  it("ends the flows of a suspended mapping that comes back with other proxies", () => {
    const revoke: Command = { _tag: "RevokeResource", client: clientId(1), resource: resourceId("app") }
    const desired = stateOf(upsertClient(1), app(1), setMapping(1, "a.corp", ["100.96.0.4"]))
    const versionOf = (orders: ReadonlyArray<Order>) =>
      orders.flatMap((order) => (order._tag === "PlaceMapping" ? [order.version] : []))
    const before = versionOf(desired.replay(0))
    desired.apply(revoke)
    desired.apply(app(1))
    const after = versionOf(desired.apply(setMapping(1, "a.corp", ["100.96.0.5"])))
    assert.lengthOf(after, 1)
    assert.notDeepEqual(after, before)
  })

  it("keeps the latest lookup and the latest generation, whatever comes late", () => {
    const second = setMapping(1, "a.corp", ["100.96.0.9"], 2)
    const answer = addresses(1, 5, "Resolved", ["10.20.0.10"], "a.corp")
    const late: ReadonlyArray<Command> = [
      setMapping(1, "a.corp", ["100.96.0.4"], 1),
      addresses(1, 4, "Unresolved", [], "a.corp")
    ]
    const desired = stateOf(upsertClient(1), app(1), late[0]!, second, answer)
    for (const command of late) assert.deepStrictEqual(desired.apply(command), [])
    assert.deepStrictEqual(plain(desired.replay(0).slice(2)), [placedMapping(second), answer])
  })

  it("takes a proxy from the mapping that had it before another mapping gets it", () => {
    const desired = stateOf(upsertClient(1), app(1), setMapping(1, "a.corp", ["100.96.0.4", "100.96.0.5"]))
    assert.deepStrictEqual(plain(desired.apply(setMapping(1, "b.corp", ["100.96.0.5"]))), [
      placedMapping(setMapping(1, "a.corp", ["100.96.0.4"])),
      placedMapping(setMapping(1, "b.corp", ["100.96.0.5"]))
    ])
  })

  it("disconnects who had a key or a tunnel address before another client gets it, and says so", () => {
    for (const claim of [
      { publicKey: upsertClient(1).publicKey },
      { tunnel4: upsertClient(1).tunnel4 },
      { tunnel6: upsertClient(1).tunnel6 }
    ]) {
      const desired = stateOf(upsertClient(1), upsertClient(2))
      const claimant = { ...upsertClient(3), ...claim }
      assert.deepStrictEqual(plain(desired.apply(claimant)), [
        { _tag: "DisconnectClient", client: clientId(1) },
        placed(claimant)
      ])
      assert.deepStrictEqual(desired.faults.splice(0), [
        "client client-1 was disconnected: its key or address belongs to client client-3 now"
      ])
      assert.deepStrictEqual(plain(desired.replay(0)), [
        { _tag: "DisconnectClient", client: clientId(1) },
        placed(upsertClient(2)),
        placed(claimant)
      ])
    }
  })

  it("knows a key by its bytes, whichever of its texts is told", () => {
    const last = upsertClient(1).publicKey.at(-2)!
    const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    const alias = `${upsertClient(1).publicKey.slice(0, -2)}${digits[digits.indexOf(last) + 1]}=`
    const orders = stateOf(upsertClient(1)).apply({ ...upsertClient(2), publicKey: alias })
    assert.deepStrictEqual(plain(orders), [
      { _tag: "DisconnectClient", client: clientId(1) },
      placed({ ...upsertClient(2), publicKey: upsertClient(1).publicKey })
    ])
  })

  it("ignores what is malformed and says so", () => {
    const desired = new DesiredState()
    const malformed: ReadonlyArray<Command> = [
      { ...upsertClient(1), publicKey: "short" },
      { ...upsertClient(1), presharedKey: "=" },
      { ...upsertClient(1), tunnel4: "100.64.1.256" },
      { ...policy, gateway6: "fd00:::1" },
      { ...policy, proxyNetworks: ["100.96.0.0/33"] }
    ]
    for (const command of malformed) {
      assert.deepStrictEqual(desired.apply(command), [])
      assert.lengthOf(desired.faults.splice(0), 1)
    }
    desired.apply(upsertClient(1))
    assert.deepStrictEqual(desired.apply(network("lab", "10.20.0.0/99")), [])
    assert.deepStrictEqual(desired.faults.splice(0), ["resource lab was ignored: malformed network"])
  })

  it("leaves the endpoint, time stamp and keepalive of before a restart as they are at a request that says nothing of them", () => {
    const restored = {
      ...upsertClient(1),
      endpoint: { address: "192.0.2.9", port: 9 },
      lastTai64n: "40".repeat(12),
      keepalive: 25
    }
    const { client, presharedKey, publicKey, tunnel4, tunnel6 } = restored
    const request: UpsertClient = { _tag: "UpsertClient", client, presharedKey, publicKey, tunnel4, tunnel6 }
    const desired = stateOf(restored)
    assert.deepStrictEqual(desired.apply(request), [])
    assert.deepStrictEqual(plain(desired.apply({ ...request, presharedKey: key(9) })), [
      placed({ ...restored, presharedKey: key(9) })
    ])
    const rekeyed = { ...upsertClient(1), publicKey: key(8) }
    assert.deepStrictEqual(plain(desired.apply({ ...request, publicKey: key(8) })), [placed(rekeyed)])
  })

  it("revives a client with its last endpoint and timestamp, and calls it when it was active in the last 3 minutes", () => {
    const desired = stateOf(upsertClient(1))
    desired.observe(state(1))
    const revived = (now: number) => desired.replay(now)[0]
    assert.deepInclude(revived(181_000), {
      endpoint: { address: "198.51.100.7", port: 4_000 },
      lastTai64n: "40".repeat(12),
      initiate: true
    })
    assert.deepInclude(revived(181_001), { initiate: false })
    desired.observe(state(1, { handshakeAt: null }))
    assert.deepInclude(revived(2_000), { initiate: false })
  })

  const known = (over: Partial<KnownEndpoint> = {}, n = 1): KnownEndpoint => ({
    client: clientId(n),
    endpoint: { address: "203.0.113.9", port: 9 },
    local: "192.0.2.7",
    lastTai64n: "41".repeat(12),
    sentTick: 5,
    ...over
  })
  const tell = (clients: ReadonlyArray<KnownEndpoint>, call = false): SetKnownEndpoints => ({
    _tag: "SetKnownEndpoints",
    clients,
    call
  })

  it("revives a client where another gateway knew it last, and has it called only if that gateway is gone", () => {
    const desired = stateOf(upsertClient(1))
    desired.observe(state(1))
    const { client: _, ...where } = known()
    assert.deepStrictEqual(desired.apply(tell([known()])), [tell([known()])])
    assert.deepInclude(desired.replay(2_000)[0], { ...where, initiate: false })
    desired.apply(tell([known()], true))
    assert.deepInclude(desired.replay(2_000)[0], { ...where, initiate: true })
  })

  it("forgets no handshake of a client that another gateway does not know of, nor the key that it was made with", () => {
    const stamps = { lastTai64n: "42".repeat(12), sentTick: 4 }
    const reported = stateOf(upsertClient(1))
    reported.observe(state(1, { ...stamps, gatewayKey: key(21) }))
    const restored = stateOf({ ...upsertClient(1), ...stamps, gatewayKey: key(21) })
    for (const desired of [reported, restored]) {
      desired.apply(tell([known({ lastTai64n: null, sentTick: 9 })]))
      assert.deepInclude(desired.replay(2_000)[0], {
        endpoint: known().endpoint,
        lastTai64n: stamps.lastTai64n,
        sentTick: 9,
        gatewayKey: key(21)
      })
    }
  })

  it("takes the worker's word again once that knows what was told, and not one from before", () => {
    const desired = stateOf(upsertClient(1), tell([known()]))
    for (const before of [{}, { lastTai64n: "42".repeat(12), sentTick: 4 }]) {
      desired.observe(state(1, before))
      assert.deepInclude(desired.replay(2_000)[0], { endpoint: known().endpoint, initiate: false })
    }
    desired.observe(state(1, { lastTai64n: "41".repeat(12), sentTick: 6 }))
    assert.deepInclude(desired.replay(2_000)[0], { endpoint: state(1).endpoint, initiate: true })
  })

  it("passes over what another gateway knew of a client before its last handshake here", () => {
    const desired = stateOf(upsertClient(1))
    desired.observe(state(1, { lastTai64n: "42".repeat(12), sentTick: 5 }))
    assert.deepStrictEqual(desired.apply(tell([known()], true)), [])
    desired.observe(state(1, { lastTai64n: "41".repeat(12), sentTick: 6 }))
    assert.deepStrictEqual(desired.apply(tell([known()], true)), [])
    assert.lengthOf(desired.apply(tell([known({ sentTick: 7 })], true)), 1)
  })

  it("passes over strangers, clients by ICE, and those without a key of their own, told at another gateway", () => {
    const role = { username: "a", password: "a" }
    const desired = stateOf(
      upsertClient(1),
      { ...upsertClient(2), ice: { local: role, remote: role, role: "controlled" } },
      { ...upsertClient(3), publicKey: upsertClient(1).publicKey }
    )
    desired.faults.length = 0
    assert.deepStrictEqual(desired.apply(tell([1, 2, 9].map((n) => known({}, n)))), [])
    assert.deepStrictEqual(desired.faults, [])
  })

  it("ignores malformed endpoints of other gateways, and those beyond 500, in one line each", () => {
    const desired = stateOf(upsertClient(1))
    const address = (text: string) => ({ endpoint: { address: text, port: 9 } })
    const port = (n: number) => ({ endpoint: { address: "203.0.113.9", port: n } })
    const malformed = [
      address("nowhere"),
      port(0),
      port(65_536),
      port(1.5),
      { local: "here" },
      { lastTai64n: "41" },
      { sentTick: -1 },
      { sentTick: Number.NaN },
      { sentTick: 2 ** 53 }
    ]
    assert.deepStrictEqual(desired.apply(tell(malformed.map(known))), [])
    const many = Array.from({ length: 501 }, (_, i) => known({ sentTick: i }))
    assert.deepStrictEqual(desired.apply(tell(many)), [tell(many.slice(0, 500))])
    assert.deepStrictEqual(desired.faults, [
      "9 endpoints at other gateways were ignored: malformed",
      "501 endpoints were told at once: those behind the 500th were ignored"
    ])
  })

  it("says that nobody is connected when there is a new worker", () => {
    const desired = stateOf(upsertClient(1))
    desired.observe(state(1))
    desired.disconnect()
    assert.deepStrictEqual([...desired.clientStates.values()], [state(1, { connected: false })])
  })

  it.prop("is the same after any command is sent twice", [Commands], ([indices]) => {
    const once = replayOf(...commandsOf(indices))
    const twice = replayOf(...commandsOf(indices).flatMap((command) => [command, command]))
    assert.deepStrictEqual(twice, once)
  })

  it.prop("keeps the addresses of the highest lookup", [Schema.Array(Schema.Literals([1, 2, 3, 4]))], ([numbers]) => {
    const desired = stateOf(upsertClient(1), app(1), setMapping(1, "a.corp", ["100.96.0.4"]))
    for (const n of numbers) desired.apply(addresses(1, n, "Resolved", [`10.20.0.${n}`], "a.corp"))
    const last = desired.replay(0).find((c): c is SetAddresses => c._tag === "SetAddresses")
    assert.strictEqual(last?.lookup, numbers.length === 0 ? undefined : Math.max(...numbers))
  })
})

describe("the desired state of connections by ICE", () => {
  const ice = {
    local: { username: "gw", password: "gateway" },
    remote: { username: "cl", password: "client" },
    role: "controlled"
  } as const
  const byIce = { ...upsertClient(1), ice }
  const at = (n: number, priority = 1_694_498_815): string =>
    `candidate:1 1 udp ${priority} 203.0.113.7 ${n} typ srflx raddr 0.0.0.0 rport 0`
  const add = (candidate: string, n = 1): Command => ({ _tag: "AddCandidate", client: clientId(n), candidate })
  const remove = (candidate: string): Command => ({ _tag: "RemoveCandidate", client: clientId(1), candidate })
  const relays: Command = { _tag: "SetRelays", relays: [] }
  const hosts: Command = { _tag: "SetHostCandidates", addresses: [{ address: "192.0.2.1", port: 1 }] }
  const candidatesOf = (desired: DesiredState) =>
    desired.replay(0).flatMap((order) => (order._tag === "AddCandidate" ? [order.candidate] : []))
  const lastOf = (desired: DesiredState) => {
    const order = desired.replay(0).find((each) => each._tag === "PlaceClient")
    assert.isDefined(order)
    return order
  }

  it("replays hosts and relays before clients, and each client before its candidates; control events never", () => {
    const control: Command = { _tag: "SendControl", client: clientId(1), event: 1, payload: new Uint8Array() }
    const replay = replayOf(byIce, add(at(1)), control, relays, hosts, policy)
    assert.deepStrictEqual(replay, [policy, relays, hosts, placed(byIce), add(at(1))])
  })

  it("takes 64 candidates of a client at most, counts the others, and keeps none that were removed", () => {
    const many = Array.from({ length: 70 }, (_, i) => at(i + 1))
    const desired = stateOf(byIce, ...many.slice(0, 64).map((text) => add(text)))
    for (const text of many.slice(64)) assert.deepStrictEqual(desired.apply(add(text)), [])
    assert.strictEqual(desired.excessCandidates, 6)
    desired.apply(remove(many[3]!))
    assert.deepStrictEqual(
      candidatesOf(desired),
      many.slice(0, 64).filter((_, i) => i !== 3)
    )
  })

  it("keeps no candidate of a client without ICE, of another connection, or that is none", () => {
    const foreign = `${at(5)} ufrag other`
    assert.deepStrictEqual(candidatesOf(stateOf(byIce, add("none"), add(foreign), upsertClient(2), add(at(1), 2))), [])
  })

  it("forgets a candidate that is taken back with another priority than it was told with", () => {
    assert.deepStrictEqual(candidatesOf(stateOf(byIce, add(at(1, 37_748_991)), remove(at(1, 33_554_687)))), [])
  })

  it("keeps a connection by the same parameters, key and addresses, with the first preshared key and the last one", () => {
    const desired = stateOf({ ...byIce, presharedKey: key(1) }, add(at(1)))
    const first = lastOf(desired)
    desired.apply({ ...byIce, presharedKey: key(2) })
    assert.deepInclude(lastOf(desired), {
      connection: first.connection,
      presharedKey: key(1),
      laterPresharedKey: key(2)
    })
    assert.deepStrictEqual(candidatesOf(desired), [at(1)])
    desired.apply({ ...byIce, presharedKey: key(1) })
    assert.deepInclude(lastOf(desired), { connection: first.connection, laterPresharedKey: null })
  })

  it.each([
    ["parameters", { ice: { ...ice, local: { username: "gw", password: "other" } } }],
    ["key", { publicKey: key(7) }],
    ["addresses", { tunnel4: "100.64.9.9" }],
    ["a plain endpoint", { ice: null }]
  ] as const)("begins another connection by other %s, without the candidates of the last one", (_, over) => {
    const desired = stateOf({ ...byIce, presharedKey: key(1) }, add(at(1)))
    const { connection } = lastOf(desired)
    desired.apply({ ...byIce, presharedKey: key(2), ...over })
    assert.notStrictEqual(lastOf(desired).connection, connection)
    assert.deepInclude(lastOf(desired), { presharedKey: key(2), laterPresharedKey: null })
    assert.deepStrictEqual(candidatesOf(desired), [])
  })

  it("lets the flows of a client by ICE go on with another key, and ends them with another address", () => {
    const desired = stateOf(byIce)
    const { flows } = lastOf(desired)
    desired.apply({ ...byIce, publicKey: key(7) })
    assert.strictEqual(lastOf(desired).flows, flows)
    desired.apply({ ...byIce, publicKey: key(7), tunnel6: "fd00:2021:1111::99" })
    assert.notStrictEqual(lastOf(desired).flows, flows)
  })

  it("begins another connection after a lost one, with the next preshared key, and forgets its candidates", () => {
    const desired = stateOf({ ...byIce, presharedKey: key(1) }, add(at(1)))
    const { connection, number } = lastOf(desired)
    desired.lost({ client: clientId(1), order: number })
    desired.apply(add(at(2)))
    assert.deepStrictEqual(candidatesOf(desired), [])
    desired.apply({ ...byIce, presharedKey: key(2) })
    desired.apply(add(at(3)))
    assert.notStrictEqual(lastOf(desired).connection, connection)
    assert.deepInclude(lastOf(desired), { presharedKey: key(2), laterPresharedKey: null })
    assert.deepStrictEqual(candidatesOf(desired), [at(3)])
  })

  it("does not take a connection for lost that the worker is being told to begin anew, with the client's candidates", () => {
    const desired = stateOf(byIce, add(at(1)))
    const { connection, number } = lastOf(desired)
    assert.deepStrictEqual(plain(desired.apply(byIce)), [placed(byIce), add(at(1))])
    desired.lost({ client: clientId(1), order: number })
    desired.apply(byIce)
    assert.strictEqual(lastOf(desired).connection, connection)
    assert.deepStrictEqual(candidatesOf(desired), [at(1)])
  })

  it("replays no connection that was lost, and goes on refusing old initiations when the client comes again", () => {
    const desired = stateOf(byIce)
    const { number } = lastOf(desired)
    desired.observe(state(1))
    desired.lost({ client: clientId(1), order: number })
    assert.deepStrictEqual(plain(desired.replay(0)), [{ _tag: "DisconnectClient", client: clientId(1) }])
    assert.deepStrictEqual(plain(desired.apply({ ...byIce, lastTai64n: null })), [
      placed({ ...byIce, lastTai64n: state(1).lastTai64n })
    ])
    const rekeyed = { ...byIce, publicKey: key(7) }
    assert.deepStrictEqual(plain(desired.apply(rekeyed)), [placed(rekeyed)])
  })

  it("ends a connection for good when it is to begin anew, and keeps what the client may reach", () => {
    const desired = stateOf(byIce, add(at(1)), app(1), upsertClient(2))
    const end = (n: number) => ({ _tag: "DisconnectClient", client: clientId(n) }) as const
    const { connection } = lastOf(desired)
    assert.deepStrictEqual(desired.apply(end(1)), [end(1)])
    assert.deepStrictEqual(desired.apply(end(2)), [])
    assert.deepStrictEqual(plain(desired.replay(0)), [end(1), placed(upsertClient(2)), app(1)])
    assert.isNull(desired.credentials(byIce as never, ice.remote))
    desired.apply(byIce)
    assert.notStrictEqual(lastOf(desired).connection, connection)
    assert.deepStrictEqual(candidatesOf(desired), [])
  })

  it("keeps the connection of a client that is named again without a word about how it connects", () => {
    const { client, presharedKey, publicKey, tunnel4, tunnel6 } = byIce
    const named: UpsertClient = { _tag: "UpsertClient", client, presharedKey, publicKey, tunnel4, tunnel6 }
    assert.deepStrictEqual(stateOf(byIce).apply(named), [])
    const robber = { ...upsertClient(2), tunnel4, ice }
    assert.deepStrictEqual(stateOf(byIce, robber).apply(named), [])
  })

  it("gives out our credentials of a connection that a client goes on with, and of no other", () => {
    const client = { id: clientId(1), publicKey: byIce.publicKey, presharedKey: null, tunnel4: "", tunnel6: "" }
    const desired = stateOf(byIce)
    assert.deepStrictEqual(desired.credentials(client, ice.remote), ice.local)
    assert.isNull(desired.credentials({ ...client, publicKey: key(7) }, ice.remote))
    assert.isNull(desired.credentials({ ...client, presharedKey: key(7) }, ice.remote))
    assert.isNull(desired.credentials({ ...client, id: clientId(2) }, ice.remote))
    assert.isNull(desired.credentials(client, ice.local))
    desired.lost({ client: clientId(1), order: lastOf(desired).number })
    assert.isNull(desired.credentials(client, ice.remote))
  })

  it("has a client that was reached directly called where it was; not one that was reached by relay", () => {
    const desired = stateOf(byIce)
    const seen = { ...state(1), endpoint: { address: "198.51.100.1", port: 5 }, handshakeAt: 1_000 }
    desired.observe({ ...seen, path: "direct" })
    assert.deepInclude(desired.replay(2_000)[0], { endpoint: seen.endpoint, initiate: true })
    desired.observe({ ...seen, path: "relayed" })
    assert.deepInclude(desired.replay(2_000)[0], { endpoint: null, initiate: true })
  })
})
