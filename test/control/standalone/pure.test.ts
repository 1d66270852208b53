import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { rightsOf, rightsOfEach } from "../../../src/control/standalone/nameRoutes.ts"
import { indexOf, openGrants, setOfName } from "../../../src/control/standalone/chooseResource.ts"
import { firstSlot, proxyIpsOf, slotCapacity, slotOf } from "../../../src/control/standalone/proxyPool.ts"
import { tunnelAnswerOf, type WaysOut6 } from "../../../src/control/standalone/tunnelAnswerOf.ts"
import { defaultRanges } from "../../../src/model/defaultRanges.ts"
import { rightsByClient } from "../../../src/model/Grant.ts"
import { proxyMembership } from "../../../src/model/ranges.ts"
import { ResourceId } from "../../../src/model/Resource.ts"
import { contains, parseAddress, parseNetwork } from "../../../src/packet/address.ts"
import type { NameState } from "../../../src/resolution/NameState.ts"
import { NameNotFound, NoAddresses, ServerFailure, Timeout } from "../../../src/resolution/Resolver.ts"
import { cidrResource, client, dnsResource, proxies } from "../../support/access.ts"
import { randomPolicy } from "../../support/randomPolicy.ts"
import { makeRandom } from "../../support/traffic.ts"

const rangesOf = (proxy4: string, proxy6: string) => ({
  proxy4: parseNetwork(proxy4)!,
  proxy6: parseNetwork(proxy6)!
})
const standard = rangesOf(defaultRanges.proxy4, defaultRanges.proxy6)
const capacity = slotCapacity(standard)
const sentinelSlot = (parseAddress("100.100.111.0")!.w3 - parseAddress("100.96.0.0")!.w3) / 4

describe("the proxy pool", () => {
  it("gives a slot four addresses of each family, IPv4 first", () => {
    assert.deepStrictEqual(proxyIpsOf(1, standard), [
      "100.96.0.4",
      "100.96.0.5",
      "100.96.0.6",
      "100.96.0.7",
      "fd00:2021:1111:8000::4",
      "fd00:2021:1111:8000::5",
      "fd00:2021:1111:8000::6",
      "fd00:2021:1111:8000::7"
    ])
  })

  it("has no slot before the first, beyond the ranges, or on the clients' own resolvers", () => {
    for (const slot of [0, -1, capacity, capacity + 1, 2 ** 31]) assert.isUndefined(proxyIpsOf(slot, standard))
    assert.isDefined(proxyIpsOf(capacity - 1, standard))
    for (let slot = sentinelSlot; slot < sentinelSlot + 64; slot++) assert.isUndefined(proxyIpsOf(slot, standard))
    assert.isDefined(proxyIpsOf(sentinelSlot - 1, standard))
    assert.isDefined(proxyIpsOf(sentinelSlot + 64, standard))
  })

  it("ends with the smaller of two ranges", () => {
    assert.strictEqual(slotCapacity(rangesOf("10.0.0.0/24", "fd00::/64")), 64)
    assert.strictEqual(slotCapacity(rangesOf("10.0.0.0/8", "fd00::/120")), 64)
    assert.isUndefined(proxyIpsOf(64, rangesOf("10.0.0.0/24", "fd00::/64")))
  })

  it("knows no slot for an address outside of the ranges, or for none at all", () => {
    for (const text of ["100.95.255.255", "100.128.0.0", "100.96.0.3", "8.8.8.8", "fd00::1", "x", ""])
      assert.strictEqual(slotOf(text, standard), -1, text)
  })

  const Slots = Schema.Literals([
    firstSlot,
    2,
    16_383,
    16_384,
    sentinelSlot - 1,
    sentinelSlot + 64,
    capacity >> 1,
    capacity - 1
  ])

  it.prop("finds every address's own slot, and all of them are proxies", [Slots, Schema.Int], ([edge, n]) => {
    const isProxy = proxyMembership([defaultRanges.proxy4, defaultRanges.proxy6])
    for (const slot of [edge, Math.abs(n) % capacity]) {
      for (const address of proxyIpsOf(slot, standard) ?? []) {
        assert.strictEqual(slotOf(address, standard), slot)
        assert.isTrue(isProxy(parseAddress(address)!), address)
      }
    }
  })

  it.prop("never gives two slots one address", [Slots, Slots], ([a, b]) => {
    const all = [...proxyIpsOf(a, standard)!, ...proxyIpsOf(b, standard)!]
    assert.strictEqual(new Set(all).size, a === b ? 8 : 16)
    for (const address of all)
      assert.isTrue([standard.proxy4, standard.proxy6].some((range) => contains(range, parseAddress(address)!)))
  })
})

describe("the resolver set that an alias's target is asked of", () => {
  it("is that of the resource that covers it, else that of the smallest zone, or nobody's", () => {
    const setOf = setOfName({
      resources: [dnsResource("**.corp", { resolver: "corp" }), dnsResource("*.lab.corp", { resolver: "lab" })],
      zones: [
        { domain: "example", resolver: "wide", clients: null },
        { domain: "eu.example", resolver: "eu", clients: null },
        { domain: "corp", resolver: "other", clients: null }
      ]
    })
    assert.deepStrictEqual(
      ["git.corp", "box.lab.corp", "a.eu.example", "eu.example", "us.example", "example.org"].map(setOf),
      ["corp", "lab", "eu", "eu", "wide", null]
    )
  })
})

describe("what a client is told about a name", () => {
  const ips = proxies(3)
  const everywhere = { some: true, leadsTo: () => true }
  const answer = (state: NameState, family: 4 | 6 = 4, now = 1_000, ways: WaysOut6 = everywhere, only?: 4 | 6) =>
    tunnelAnswerOf(state, family, ips, now, ways, only)
  const unresolved = (reason: Extract<NameState, { _tag: "Unresolved" }>["reason"], negativeUntil = 0): NameState => ({
    _tag: "Unresolved",
    reason,
    attempts: 1,
    since: 0,
    negativeUntil
  })
  const resolved = (addresses: ReadonlyArray<string>, failed = false): NameState => ({
    _tag: "Resolved",
    addresses,
    since: 0,
    staleAt: 0,
    failure: failed ? new Timeout({ afterMs: 1 }) : null
  })
  const own = (family: 4 | 6, ttl = 30) => ({
    _tag: "Addresses" as const,
    addresses: ips.filter((ip) => ip.includes(":") === (family === 6)),
    ttl
  })

  it("is its proxy IPs of the asked family as long as nothing is known for sure", () => {
    const unsure: ReadonlyArray<NameState> = [
      unresolved(new ServerFailure({ detail: "x" }), 99_000),
      unresolved(new Timeout({ afterMs: 1 })),
      resolved(["10.0.0.1", "fd5a::1"]),
      resolved(["10.0.0.1"], true)
    ]
    for (const state of unsure) {
      for (const family of [4, 6] as const) assert.deepStrictEqual(answer(state, family), own(family), state._tag)
    }
  })

  it("is NXDOMAIN or NODATA once that is known, for 60 seconds at most, and stale for one second at a time", () => {
    const missing = unresolved(new NameNotFound({ ttlSeconds: 5 }), 6_000)
    assert.deepStrictEqual(answer(missing), { _tag: "NameError", ttl: 5 })
    assert.deepStrictEqual(answer(missing, 4, 5_999), { _tag: "NameError", ttl: 1 })
    assert.deepStrictEqual(answer(missing, 4, 6_000), { _tag: "NameError", ttl: 1 })
    assert.deepStrictEqual(answer(missing, 4, 9_000_000), { _tag: "NameError", ttl: 1 })
    const empty = unresolved(new NoAddresses({ ttlSeconds: 5 }), 500_000)
    assert.deepStrictEqual(answer(empty, 6), { _tag: "NoData", ttl: 60 })
  })

  it("has nothing of the family that its resource is not for", () => {
    const state = resolved(["10.0.0.1", "fd5a::1"])
    assert.deepStrictEqual(answer(state, 6, 0, everywhere, 4), { _tag: "NoData", ttl: 30 })
    assert.deepStrictEqual(answer(state, 4, 0, everywhere, 4), own(4))
    assert.deepStrictEqual(answer(state, 4, 0, everywhere, 6), { _tag: "NoData", ttl: 30 })
    const missing = unresolved(new NameNotFound({ ttlSeconds: 5 }), 6_000)
    assert.deepStrictEqual(answer(missing, 6, 1_000, everywhere, 4), { _tag: "NameError", ttl: 5 })
  })

  it("is kept for two seconds only where it may turn out that the name has no IPv6", () => {
    const resolving: NameState = { _tag: "Resolving", since: 0, attempts: 0, silent: false }
    assert.deepStrictEqual(answer(resolving, 6), own(6, 2))
    assert.deepStrictEqual(answer(resolving, 4), own(4))
  })

  it("has no IPv6 address that leads nowhere from the gateway, whatever else is known or not", () => {
    const nowhere = { some: false, leadsTo: () => false }
    const elsewhere = { some: true, leadsTo: (address: string) => address === "fd77::1" }
    const both = resolved(["10.0.0.1", "fd5a::1"])
    const none = { _tag: "NoData" as const, ttl: 30 }
    for (const state of [both, resolved(["fd5a::1"], true), unresolved(new Timeout({ afterMs: 1 }))]) {
      assert.deepStrictEqual(answer(state, 6, 1_000, nowhere), none)
    }
    assert.deepStrictEqual(answer(both, 6, 1_000, elsewhere), none)
    assert.deepStrictEqual(answer(resolved(["fd5a::1", "fd77::1"]), 6, 1_000, elsewhere), own(6))
    assert.deepStrictEqual(answer(both, 4, 1_000, nowhere), own(4))
    assert.deepStrictEqual(answer(resolved(["10.0.0.1"], true), 6, 1_000, elsewhere), own(6))
  })

  it("is NODATA for a family that is known to be empty", () => {
    assert.deepStrictEqual(answer(resolved(["10.0.0.1"]), 6), { _tag: "NoData", ttl: 30 })
    assert.deepStrictEqual(answer(resolved(["10.0.0.1"]), 4), own(4))
  })
})

describe("the resources of a client that cover a name", () => {
  const grant = (resource: ReturnType<typeof dnsResource>, expiresAt: number | null = null) => ({
    client: client(1),
    resource,
    expiresAt
  })

  it("are of many clients together what they are of each", () => {
    const random = makeRandom(3)
    for (let i = 0; i < 100; i++) {
      const { clients, grants } = randomPolicy(random)
      const of = rightsByClient(grants)
      assert.deepStrictEqual(
        [...rightsOfEach(grants, new Set(clients.map(({ id }) => id))).values()],
        clients.map(({ id }) =>
          rightsOf(id, of.get(id)?.map(({ expiresAt, resource }) => ({ resource, expiresAt })) ?? [])
        )
      )
    }
  })

  it("are all that cover the name and have not expired, the most specific pattern first", () => {
    const all = [
      grant(dnsResource("**.corp")),
      { client: client(1), resource: cidrResource("10.0.0.0/8"), expiresAt: null },
      grant(dnsResource("git.corp"), 1_000),
      grant(dnsResource("*.corp"))
    ]
    const grants = rightsOf(client(1).id, all).names
    const others = [{ ...dnsResource("git.corp"), id: ResourceId.make("of others") }, dnsResource("*.lab")]
    const index = indexOf([...others, ...all.map(({ resource }) => resource)])
    assert.deepStrictEqual(
      grants.map((g) => g.resource.pattern),
      ["git.corp", "*.corp", "**.corp"]
    )
    const covering = (domain: string, now: number) =>
      openGrants(grants, index.covering(domain), now).map((g) => g.resource.pattern)
    assert.deepStrictEqual(covering("git.corp", 999), ["git.corp", "*.corp", "**.corp"])
    assert.deepStrictEqual(covering("git.corp", 1_000), ["*.corp", "**.corp"])
    assert.deepStrictEqual(covering("a.git.corp", 0), ["**.corp"])
    assert.deepStrictEqual(covering("git.lab", 0), [])
    assert.deepStrictEqual(covering("git.example", 0), [])
  })
})
