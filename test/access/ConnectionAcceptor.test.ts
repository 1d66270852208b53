import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import * as ConnectionAcceptorLive from "../../layers/access/ConnectionAcceptor.ts"
import { DataPlaneRecorder } from "../../layers/memory/DataPlaneRecording.ts"
import * as ResolverMemory from "../../layers/memory/ResolverMemory.ts"
import { Authorizations } from "../../src/access/Authorizations.ts"
import { Clients } from "../../src/access/Clients.ts"
import { type AccessReply, ConnectionAcceptor } from "../../src/access/ConnectionAcceptor.ts"
import type { AccessRequest } from "../../src/model/AccessRequest.ts"
import { addressesOf } from "../../src/resolution/NameState.ts"
import { Resolutions } from "../../src/resolution/Resolutions.ts"
import { Resolver } from "../../src/resolution/Resolver.ts"
import {
  cidrResource,
  client,
  dnsResource,
  failures,
  latestAddresses,
  defaultProxies,
  layerAccess,
  layerGrants,
  lookups,
  proxies,
  request
} from "../support/access.ts"

/** Accepts, and fails unless the reply was there before the turn was over and before any resolver call came back. */
const acceptAtOnce = Effect.fnUntraced(function* (asked: AccessRequest) {
  const acceptor = yield* ConnectionAcceptor
  const script = yield* ResolverMemory.ResolverScript
  const returnedBefore = yield* script.returned
  let returnedAtReply = -1
  const noteReturned = Effect.tap(script.returned, (n) => Effect.sync(() => void (returnedAtReply = n)))
  const fiber = yield* acceptor.accept(asked).pipe(
    Effect.onExit(() => noteReturned),
    Effect.forkChild({ startImmediately: true })
  )
  const exit = fiber.pollUnsafe()
  if (exit === undefined) yield* Fiber.interrupt(fiber)
  assert.isDefined(exit, "accept did not reply in the turn of its request")
  assert.strictEqual(returnedAtReply, returnedBefore, "a resolver call came back before accept replied")
  return yield* exit
})

const emptyOrResolving = (reply: AccessReply) => {
  assert.isNotNull(reply.mapping)
  assert.strictEqual(reply.mapping.state._tag, "Resolving")
  assert.deepStrictEqual(addressesOf(reply.mapping.state), [])
}

describe("ConnectionAcceptor with a resolver that", () => {
  for (const [name, behaviour, reason] of failures) {
    it.effect(`${name}: replies at once, then holds an empty list and the reason ${reason}`, () =>
      Effect.gen(function* () {
        const script = yield* ResolverMemory.ResolverScript
        const resolutions = yield* Resolutions
        yield* script.set("*", behaviour)

        const reply = yield* acceptAtOnce(request("db.corp"))
        emptyOrResolving(reply)
        assert.strictEqual((yield* latestAddresses).get(reply.mapping!.mapping.id)?.state, "Resolving")

        yield* TestClock.adjust("10 seconds")
        const state = (yield* resolutions.list)[0]!.state
        assert(state._tag === "Unresolved")
        assert.strictEqual(state.reason._tag, reason)
        const told = (yield* latestAddresses).get(reply.mapping!.mapping.id)
        assert.strictEqual(told?.state, "Unresolved")
        assert.deepStrictEqual(told?.addresses, [])

        const again = yield* acceptAtOnce(request("db.corp"))
        assert.deepStrictEqual(addressesOf(again.mapping!.state), [])
        const other = yield* acceptAtOnce(request("web.corp", { client: client(1) }))
        assert.deepStrictEqual(addressesOf(other.mapping!.state), [])
      }).pipe(Effect.provide(layerAccess))
    )
  }

  it.effect("answers: replies at once, then tells the data plane the sorted addresses", () =>
    Effect.gen(function* () {
      const script = yield* ResolverMemory.ResolverScript
      yield* script.set("db.corp", ResolverMemory.answer(["10.0.0.9", "fd00::1", "10.0.0.10", "10.0.0.9"], 60))
      const reply = yield* acceptAtOnce(request("db.corp"))
      emptyOrResolving(reply)
      yield* TestClock.adjust(5)
      const told = (yield* latestAddresses).get(reply.mapping!.mapping.id)
      assert.deepInclude(told, { state: "Resolved", addresses: ["10.0.0.10", "10.0.0.9", "fd00::1"], staleAt: 60_000 })
    }).pipe(Effect.provide(layerAccess))
  )
})

describe("the assertion on accept catches an acceptor that", () => {
  /** Deliberately wrong: waits for DNS inside accept. */
  const waiting = Layer.effect(
    ConnectionAcceptor,
    Effect.gen(function* () {
      const acceptor = yield* ConnectionAcceptor
      const resolver = yield* Resolver
      return ConnectionAcceptor.of({
        accept: (asked) =>
          resolver
            .resolve({ resolver: "system", domain: asked.name?.domain ?? "" })
            .pipe(Effect.ignore, Effect.andThen(acceptor.accept(asked)))
      })
    })
  ).pipe(Layer.provide(ConnectionAcceptorLive.layer), Layer.provideMerge(Layer.merge(layerGrants, defaultProxies)))

  const cases = [
    ...failures.filter(([name]) => name === "hangs" || name === "is never answered" || name.startsWith("fails")),
    ["answers", ResolverMemory.answer(["10.0.0.1"]), ""],
    ["answers late", { _tag: "Late", afterMs: 1, stubborn: false, as: ResolverMemory.answer(["10.0.0.1"]) }, ""]
  ] as const
  for (const [name, behaviour] of cases) {
    it.effect(`waits for DNS that ${name}`, () =>
      Effect.gen(function* () {
        const script = yield* ResolverMemory.ResolverScript
        yield* script.set("*", behaviour)
        const exit = yield* Effect.exit(acceptAtOnce(request("db.corp")))
        assert(Exit.isFailure(exit), "a wait for DNS went unnoticed")
        assert.match(Cause.pretty(exit.cause), /did not reply in the turn|came back before accept replied/)
      }).pipe(Effect.provide(waiting))
    )
  }
})

describe("ConnectionAcceptor", () => {
  it.effect("tells the data plane client, resource, mapping and Resolving, in this order, before it replies", () =>
    Effect.gen(function* () {
      const recorder = yield* DataPlaneRecorder
      yield* acceptAtOnce(request("db.corp"))
      const tags = (yield* recorder.commands).map((command) => command._tag)
      assert.deepStrictEqual(tags, ["UpsertClient", "SetResource", "SetMapping", "SetAddresses"])
    }).pipe(Effect.provide(layerAccess))
  )

  it.effect("never overwrites what was restored of a client, until its keys change", () =>
    Effect.gen(function* () {
      const recorder = yield* DataPlaneRecorder
      const clients = yield* Clients
      const restore = {
        endpoint: { address: "192.0.2.1", port: 9 },
        local: "192.0.2.1",
        lastTai64n: "0".repeat(24),
        sentTick: 5,
        gatewayKey: null,
        keepalive: 25,
        initiate: true
      }
      yield* clients.upsert(client(0), restore)
      yield* acceptAtOnce(request("db.corp"))
      yield* acceptAtOnce(request("web.corp", { name: { domain: "web.corp", proxyIps: proxies(2) } }))
      const upserts = (yield* recorder.orders).filter((order) => order._tag === "PlaceClient")
      assert.deepStrictEqual(
        upserts.map((upsert) => upsert.endpoint),
        [restore.endpoint]
      )

      yield* acceptAtOnce(request("db.corp", { client: { ...client(0), publicKey: client(7).publicKey } }))
      const after = (yield* recorder.orders).filter((order) => order._tag === "PlaceClient")
      assert.deepStrictEqual(
        after.map((upsert) => upsert.publicKey),
        [client(0).publicKey, client(7).publicKey]
      )
      assert.isNull(after[1]!.endpoint)
    }).pipe(Effect.provide(layerAccess))
  )

  it.effect("takes the control plane's credentials, or draws fresh ones of ICE characters", () =>
    Effect.gen(function* () {
      const given = { username: "abcd", password: "p".repeat(22) }
      const first = yield* acceptAtOnce(request("db.corp", { credentials: given }))
      assert.deepStrictEqual(first.credentials, given)
      const drawn = new Set<string>()
      for (let i = 0; i < 50; i++) {
        const { username, password } = (yield* acceptAtOnce(request("db.corp"))).credentials
        assert.match(username, /^[A-Za-z0-9+/]{4}$/)
        assert.match(password, /^[A-Za-z0-9+/]{22}$/)
        drawn.add(password)
      }
      assert.strictEqual(drawn.size, 50)
    }).pipe(Effect.provide(layerAccess))
  )

  it.effect("accepts CIDR resources, and DNS resources without a name, without any lookup", () =>
    Effect.gen(function* () {
      const authorizations = yield* Authorizations
      for (const resource of [cidrResource("10.0.0.0/8"), dnsResource("*.corp")]) {
        const reply = yield* acceptAtOnce(request("x", { resource, name: null }))
        assert.isNull(reply.mapping)
      }
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(yield* lookups, 0)
      assert.strictEqual((yield* authorizations.list).length, 2)
    }).pipe(Effect.provide(layerAccess))
  )

  const refusals: ReadonlyArray<readonly [string, AccessRequest, string]> = [
    ["an expired authorization", request("db.corp", { expiresAt: 1_000 }), "Expired"],
    ["a name under a CIDR resource", request("db.corp", { resource: cidrResource("10.0.0.0/8") }), "NotADnsResource"],
    [
      "a name that the pattern does not cover",
      request("x", { resource: dnsResource("*.corp"), name: { domain: "a.b.corp", proxyIps: proxies(1) } }),
      "DomainMismatch"
    ],
    [
      "something that is no name",
      request("x", { resource: dnsResource("**"), name: { domain: "a b", proxyIps: proxies(1) } }),
      "DomainMismatch"
    ],
    ["no proxy IPs", request("db.corp", { name: { domain: "db.corp", proxyIps: [] } }), "NoProxies"],
    [
      "a proxy IP outside the ranges",
      request("db.corp", { name: { domain: "db.corp", proxyIps: [...proxies(1), "10.0.0.1"] } }),
      "ProxyOutOfRange"
    ],
    [
      "a client's DNS server as proxy IP",
      request("db.corp", { name: { domain: "db.corp", proxyIps: ["100.100.111.1"] } }),
      "ProxyOutOfRange"
    ],
    [
      "a proxy IP that is no address",
      request("db.corp", { name: { domain: "db.corp", proxyIps: ["100.96.0.x"] } }),
      "ProxyOutOfRange"
    ],
    [
      "more proxy IPs than any client needs",
      request("db.corp", {
        name: { domain: "db.corp", proxyIps: Array.from({ length: 65 }, (_, i) => `100.96.0.${i}`) }
      }),
      "ProxyOutOfRange"
    ]
  ]
  for (const [what, asked, reason] of refusals) {
    it.effect(`refuses ${what} and changes nothing`, () =>
      Effect.gen(function* () {
        const recorder = yield* DataPlaneRecorder
        const authorizations = yield* Authorizations
        yield* TestClock.adjust(1_000)
        const refused = yield* Effect.flip(acceptAtOnce(asked))
        assert.strictEqual(refused._tag, "AccessRefused")
        assert.strictEqual(refused.reason, reason)
        yield* TestClock.adjust("3 seconds")
        assert.deepStrictEqual(yield* recorder.commands, [])
        assert.deepStrictEqual(yield* authorizations.list, [])
        assert.strictEqual(yield* lookups, 0)
      }).pipe(Effect.provide(layerAccess))
    )
  }

  it.effect("compares domains without regard to case and writes proxy IPs canonically", () =>
    Effect.gen(function* () {
      const name = { domain: "DB.Corp.", proxyIps: ["fd00:2021:1111:8000:0::0001", "100.96.0.1", "100.96.0.1"] }
      const reply = yield* acceptAtOnce(request("db.corp", { name }))
      assert.strictEqual(reply.mapping!.mapping.name.domain, "db.corp")
      assert.deepStrictEqual(reply.mapping!.mapping.proxyIps, ["fd00:2021:1111:8000::1", "100.96.0.1"])
    }).pipe(Effect.provide(layerAccess))
  )

  it.effect(
    "maps 4,096 names for a client, not one more, and renews those it has",
    () =>
      Effect.gen(function* () {
        const acceptor = yield* ConnectionAcceptor
        const resource = dnsResource("*.corp")
        const ask = (n: number) =>
          acceptor.accept(request("x", { resource, name: { domain: `n${n}.corp`, proxyIps: proxies(n) } }))
        for (let n = 0; n < 4_096; n++) yield* ask(n)
        assert.strictEqual((yield* Effect.flip(ask(4_096))).reason, "TooManyMappings")
        assert.isNotNull((yield* ask(7)).mapping)
        const other = request("x", { resource, client: client(1), name: { domain: "n1.corp", proxyIps: proxies(1) } })
        assert.isNotNull((yield* acceptor.accept(other)).mapping)
      }).pipe(Effect.provide(layerAccess)),
    30_000
  )

  it.effect("takes a proxy IP of another name as a client's restart, but only of who numbers its names by itself", () =>
    Effect.gen(function* () {
      const resolutions = yield* Resolutions
      const resource = dnsResource("*.corp")
      const ask = (domain: string, n: number, ownNumbers: boolean) =>
        acceptAtOnce(request("x", { resource, name: { domain, proxyIps: proxies(n), ownNumbers } }))
      const domains = Effect.map(resolutions.list, (all) => all.map(({ mapping }) => mapping.name.domain))
      yield* ask("a.corp", 1, true)
      yield* ask("b.corp", 2, true)
      assert.isFalse((yield* ask("a.corp", 1, true)).restarted)
      assert.isFalse((yield* ask("c.corp", 2, false)).restarted)
      assert.deepStrictEqual(yield* domains, ["a.corp", "c.corp"])
      assert.isTrue((yield* ask("d.corp", 1, true)).restarted)
      assert.deepStrictEqual(yield* domains, ["d.corp"])
    }).pipe(Effect.provide(layerAccess))
  )

  it.effect("keeps two clients with the same proxy IP apart", () =>
    Effect.gen(function* () {
      const script = yield* ResolverMemory.ResolverScript
      const authorizations = yield* Authorizations
      yield* script.set("db.corp", ResolverMemory.answer(["10.0.0.1"]))
      yield* script.set("web.corp", ResolverMemory.answer(["10.0.0.2"]))
      const a = yield* acceptAtOnce(request("db.corp", { client: client(0) }))
      const b = yield* acceptAtOnce(request("web.corp", { client: client(1) }))
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(a.mapping!.mapping.proxyIps, b.mapping!.mapping.proxyIps)
      const told = yield* latestAddresses
      assert.deepStrictEqual(told.get(a.mapping!.mapping.id)?.addresses, ["10.0.0.1"])
      assert.deepStrictEqual(told.get(b.mapping!.mapping.id)?.addresses, ["10.0.0.2"])
      yield* authorizations.revoke(client(0).id, null)
      assert.deepStrictEqual([...(yield* latestAddresses).keys()], [b.mapping!.mapping.id])
    }).pipe(Effect.provide(layerAccess))
  )
})
