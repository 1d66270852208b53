/** A whole standalone gateway in memory: only UDP, the TUN device, the clock and DNS servers are simulated. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import { TestClock } from "effect/testing"
import * as DataPlaneMemory from "../../../layers/memory/DataPlaneMemory.ts"
import { type Behaviour, answer, ResolverScript } from "../../../layers/memory/ResolverMemory.ts"
import { TunnelRecorder } from "../../../layers/memory/TunnelMemory.ts"
import * as SharedStoreMemory from "../../../layers/memory/SharedStoreMemory.ts"
import { SiteMemory } from "../../../layers/memory/SharedStoreMemory.ts"
import * as StateStoreMemory from "../../../layers/memory/StateStoreMemory.ts"
import * as SiteLive from "../../../layers/shared/site.ts"
import { Authorizations } from "../../../src/access/Authorizations.ts"
import type { GatewayConfig } from "../../../src/config/GatewayConfig.ts"
import { packetPolicyOf } from "../../../src/control/standalone/packetPolicy.ts"
import { DataPlane } from "../../../src/dataplane/DataPlane.ts"
import { rcode, recordType } from "../../../src/dns/registry.ts"
import { StateStore } from "../../../src/host/StateStore.ts"
import { ClientId } from "../../../src/model/Client.ts"
import { cidrResource, dnsResource, lookups } from "../../support/access.ts"
import {
  ack,
  counter,
  destinations,
  icmpOf,
  lan,
  other4,
  parsed,
  real4,
  reply,
  rst,
  send,
  syn,
  tcp,
  tcpBack
} from "../../support/engineSteps.ts"
import {
  clientId,
  gateway4,
  gateway6,
  gatewayPrivateKey,
  makeClient,
  policy,
  tunnel4,
  upsertClient
} from "../../support/engineWorld.ts"
import { connect, exchange, sendInner } from "../../support/memoryClient.ts"
import { buildIcmp, buildTcp } from "../../support/packets.ts"
import { addressesIn, configOf, Disk, layerDisk, layerGateway, query, withLogLines } from "../../support/standalone.ts"

const corp = dnsResource("**.corp")
const lab = cidrResource("10.30.0.0/16")
const config = configOf([corp, lab])

const onMemory = (config: GatewayConfig) =>
  layerGateway(config, DataPlaneMemory.layer({ privateKey: gatewayPrivateKey, maxSessions: 4_096 }))
const layerStore = layerDisk(StateStoreMemory.layer)
const layerOf = (config: GatewayConfig) => onMemory(config).pipe(Layer.provideMerge(layerStore))
const layer = layerOf(config)

/** Every server of the system answers like this from now on. */
const dns = Effect.fnUntraced(function* (behaviour: Behaviour) {
  yield* (yield* ResolverScript).set("*", behaviour)
})

const online = Effect.gen(function* () {
  yield* TestClock.adjust("1 minute")
  yield* send({ ...policy, gateway4, gateway6 })
  const client = makeClient(1)
  yield* connect(client)
  return { client, out: yield* lan }
})

const proxyOf = Effect.fnUntraced(function* (domain: string) {
  const [proxy] = addressesIn(yield* query(domain))
  assert.isDefined(proxy)
  return proxy
})

describe("the tunnel of a standalone gateway", () => {
  const planOf = (config: GatewayConfig) =>
    Effect.map(TunnelRecorder, ({ plans }) => plans).pipe(Effect.provide(layerOf(config), { local: true }))

  it.effect("is what the file says, once; the firewall opens the host only where a resource opts in", () =>
    Effect.gen(function* () {
      const { firewall, keepPorts, masquerade, network, trackUdp } = config
      assert.deepStrictEqual(yield* planOf(config), [
        {
          gateway4,
          gateway6,
          firewall,
          masquerade,
          keepPorts,
          fixedRanges: false,
          trackUdp,
          allowGatewayHost: false,
          ranges: network,
          packets: packetPolicyOf(config),
          hostCandidates: false
        }
      ])
      const own = configOf([corp, { ...lab, allow: ["gateway_host"] }])
      assert.isTrue((yield* planOf(own))[0]?.allowGatewayHost)
    })
  )
})

describe("a client whose gateway has no DNS", () => {
  it.effect("is answered at once, told by ICMP at once, and connected by its next packet when DNS is back", () =>
    Effect.gen(function* () {
      const { client, out } = yield* online
      yield* dns({ _tag: "Silent" })
      const proxy = yield* proxyOf("git.corp")
      yield* sendInner(client, tcp(443, syn, proxy))
      // The first lookup may still succeed: the packet waits for 2 seconds, later ones do not.
      assert.deepStrictEqual([out.length, client.received.length], [0, 0])
      yield* TestClock.adjust("2100 millis")
      yield* sendInner(client, tcp(443, syn, proxy))
      assert.deepStrictEqual(icmpOf(client.received), [
        [3, 0],
        [3, 0]
      ])
      yield* TestClock.adjust("1 minute")
      yield* sendInner(client, tcp(443, syn, proxy))
      yield* dns(answer([real4]))
      yield* TestClock.adjust("2 seconds")
      yield* sendInner(client, tcp(443, syn, proxy))
      assert.deepStrictEqual(destinations(out), [real4])
      yield* reply(client, tcpBack(443, syn | ack))
      assert.strictEqual(parsed(client.received.at(-1)).protocol, 6)
    }).pipe(Effect.provide(layer))
  )

  it.effect("finds the names it still asks for again within 2 seconds, after 5 seconds and after 10 minutes", () =>
    Effect.gen(function* () {
      for (const outage of ["5 seconds", "10 minutes"] as const) {
        yield* dns({ _tag: "Silent" })
        const proxy = yield* proxyOf(`${outage.replace(" ", "-")}.corp`)
        yield* TestClock.adjust(outage)
        const { client, out } = yield* online
        for (let i = 0; i < 3; i++) {
          yield* sendInner(client, tcp(443, syn, proxy))
          yield* TestClock.adjust("1 second")
        }
        assert.deepStrictEqual(out, [])
        yield* dns(answer([real4]))
        yield* TestClock.adjust("2 seconds")
        yield* sendInner(client, tcp(443, syn, proxy, 50_002))
        assert.deepStrictEqual(destinations(out), [real4], outage)
      }
    }).pipe(Effect.provide(layer))
  )
})

describe("a name that moves", () => {
  it.effect("is found again by what is unanswered, after 3 seconds and not before; the flow follows", () =>
    Effect.gen(function* () {
      const { client, out } = yield* online
      yield* dns(answer([real4], 3_600))
      const proxy = yield* proxyOf("git.corp")
      yield* TestClock.adjust("10 seconds")
      yield* dns(answer([other4], 3_600))
      yield* sendInner(client, tcp(443, syn, proxy))
      yield* TestClock.adjust("2900 millis")
      assert.strictEqual(yield* lookups, 1)
      yield* TestClock.adjust("400 millis")
      assert.strictEqual(yield* lookups, 2)
      yield* sendInner(client, tcp(443, syn, proxy))
      assert.deepStrictEqual(destinations(out), [real4, other4])
    }).pipe(Effect.provide(layer))
  )

  it.effect("is never looked up while idle, whatever its TTL", () =>
    Effect.gen(function* () {
      const { client } = yield* online
      yield* dns(answer([real4], 1))
      const proxy = yield* proxyOf("git.corp")
      yield* TestClock.adjust("1 second")
      yield* sendInner(client, tcp(443, syn, proxy))
      yield* reply(client, tcpBack(443, syn | ack))
      yield* TestClock.adjust("10 seconds")
      const before = yield* lookups
      yield* TestClock.adjust("10 minutes")
      assert.strictEqual(yield* lookups, before)
    }).pipe(Effect.provide(layer))
  )

  it.effect("is not looked up each second because its host is unreachable", () =>
    Effect.gen(function* () {
      const { client, out } = yield* online
      yield* dns(answer([real4], 3_600))
      const proxy = yield* proxyOf("git.corp")
      yield* TestClock.adjust("1 second")
      for (let second = 0; second < 300; second++) {
        yield* sendInner(client, tcp(443, syn, proxy, 50_000 + second))
        yield* TestClock.adjust("1 second")
      }
      // A few meet the renewal of the WireGuard session.
      assert.isAtLeast(out.length, 290)
      assert.isAtMost(yield* lookups, 12)
      assert.isAtLeast(yield* lookups, 3)
    }).pipe(Effect.provide(layer))
  )
})

describe("the log", () => {
  it.effect("says nothing about packets, at any level: neither of dead hosts nor of what is not allowed", () =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        const { client } = yield* online
        yield* dns(answer([real4], 3_600))
        const proxy = yield* proxyOf("git.corp")
        yield* TestClock.adjust("1 second")
        const before = lines.length
        for (let second = 0; second < 60; second++) {
          const port = 40_000 + second
          yield* sendInner(client, tcp(443, syn, proxy, port))
          yield* sendInner(client, ...["100.96.7.7", "10.99.0.1", "100.64.7.7"].map((to) => tcp(443, syn, to, port)))
          const error = { source: "10.20.0.254", destination: tunnel4(1), type: 3, code: 1 }
          const sent = buildTcp({
            source: tunnel4(1),
            destination: real4,
            sourcePort: port,
            destinationPort: 443,
            flags: syn
          })
          yield* reply(client, buildIcmp({ ...error, payload: sent }), tcpBack(443, rst, "10.99.0.9", 1))
          yield* TestClock.adjust("1 second")
        }
        assert.deepStrictEqual(
          [
            yield* counter("inbound.icmp_error"),
            yield* counter("inbound.no_session"),
            yield* counter("outbound.unmapped"),
            yield* counter("outbound.unauthorized"),
            yield* counter("outbound.tunnel_address")
          ],
          [60, 60, 60, 60, 60]
        )
        assert.deepStrictEqual(lines.slice(before), [])
      }).pipe(Effect.provide(layer), Effect.provideService(References.MinimumLogLevel, "All"))
    )
  )
})

describe("an authorization", () => {
  const live = Effect.gen(function* () {
    const { client, out } = yield* online
    yield* dns(answer([real4], 3_600))
    const proxy = yield* proxyOf("git.corp")
    yield* TestClock.adjust("1 second")
    yield* sendInner(client, tcp(443, syn, proxy), tcp(22, syn, "10.30.0.5", 50_001))
    yield* reply(client, tcpBack(443, syn | ack), tcpBack(22, syn | ack, "10.30.0.5", 50_001))
    assert.deepStrictEqual(destinations(out), [real4, "10.30.0.5"])
    assert.strictEqual(client.received.length, 2)
    return { client, out, proxy }
  })

  const assertCut = Effect.fnUntraced(function* ({ client, out, proxy }: Effect.Success<typeof live>) {
    yield* reply(client, tcpBack(443, ack), tcpBack(22, ack, "10.30.0.5", 50_001))
    yield* sendInner(client, tcp(443, ack, proxy), tcp(22, ack, "10.30.0.5", 50_001))
    assert.strictEqual(out.length, 2)
    assert.strictEqual(client.received.filter((packet) => parsed(packet).protocol === 6).length, 2)
    assert.strictEqual(yield* counter("sessions.live"), 0)
    assert.strictEqual((yield* query("git.corp")).rcode, rcode.NXDomain)
  })

  it.effect("that expires cuts live flows of names and networks within a second, and not before", () =>
    Effect.gen(function* () {
      const flows = yield* live
      yield* TestClock.adjust("28 seconds")
      assert.strictEqual(yield* counter("sessions.live"), 2)
      yield* TestClock.adjust("2 seconds")
      yield* assertCut(flows)
    }).pipe(
      Effect.provide(layerOf({ ...config, grants: config.grants.map((grant) => ({ ...grant, expiresAt: 90_000 })) }))
    )
  )

  it.effect("that has expired is told as such after a restart, too: its names are prohibited, not unreachable", () => {
    const expiring = { ...config, grants: config.grants.map((grant) => ({ ...grant, expiresAt: 90_000 })) }
    return Effect.gen(function* () {
      const proxy = yield* Effect.gen(function* () {
        yield* (yield* ResolverScript).set("*", answer(["10.0.0.1"]))
        yield* online
        return yield* proxyOf("git.corp")
      }).pipe(Effect.provide(onMemory(expiring), { local: true }))
      yield* TestClock.adjust("1 minute")
      yield* Effect.gen(function* () {
        const { client, out } = yield* online
        yield* sendInner(client, tcp(443, syn, proxy), tcp(443, syn, "100.96.200.1"))
        assert.deepStrictEqual(icmpOf(client.received), [
          [3, 13],
          [3, 0]
        ])
        assert.deepStrictEqual(out, [])
        assert.strictEqual(yield* lookups, 0)
      }).pipe(Effect.provide(onMemory(expiring), { local: true }))
    }).pipe(Effect.provide(layerStore))
  })

  it.effect("that is revoked cuts live flows at once", () =>
    Effect.gen(function* () {
      const flows = yield* live
      yield* (yield* Authorizations).revoke(ClientId.make(clientId(1)), null)
      yield* reply(flows.client, tcpBack(443, ack), tcpBack(22, ack, "10.30.0.5", 50_001))
      yield* sendInner(flows.client, tcp(443, ack, flows.proxy))
      assert.strictEqual(flows.out.length, 2)
      assert.strictEqual(flows.client.received.filter((packet) => parsed(packet).protocol === 6).length, 2)
    }).pipe(Effect.provide(layer))
  )
})

describe("a resource that is withdrawn and given back", () => {
  /** What `reload` does with a grant that was taken out of the file and put in again. */
  it.effect("goes on with open flows and with names whose only address a program remembers, without a question", () =>
    Effect.gen(function* () {
      const { client, out } = yield* online
      yield* dns(answer([real4], 30))
      const proxy = yield* proxyOf("git.corp")
      const wiki = yield* proxyOf("wiki.corp")
      yield* TestClock.adjust("1 second")
      yield* sendInner(client, tcp(443, syn, proxy))
      yield* reply(client, tcpBack(443, syn | ack))
      const authorizations = yield* Authorizations
      const grant = (yield* authorizations.list).find(({ resource }) => resource.id === corp.id)
      assert.isDefined(grant)
      yield* authorizations.revoke(grant.client.id, corp.id)
      const asked = yield* lookups
      yield* dns(answer([other4], 30))
      for (let i = 0; i < 3; i++) {
        yield* TestClock.adjust("40 seconds")
        yield* sendInner(client, tcp(443, ack, proxy))
        yield* reply(client, tcpBack(443, ack))
      }
      assert.deepStrictEqual([out.length, yield* lookups], [1, asked])
      assert.deepStrictEqual(
        icmpOf(client.received.slice(1)),
        Array.from({ length: 3 }, () => [3, 13] as const)
      )

      yield* authorizations.record(grant)
      yield* reply(client, tcpBack(443, ack))
      assert.strictEqual(parsed(client.received.at(-1)).protocol, 6)
      yield* sendInner(client, tcp(443, ack, proxy), tcp(443, syn, wiki, 50_001), tcp(443, syn, wiki, 50_002))
      assert.deepStrictEqual(destinations(out).slice(1, 3), [real4, real4])
      yield* TestClock.adjust("1 second")
      yield* sendInner(client, tcp(443, syn, wiki, 50_003))
      assert.strictEqual(destinations(out).at(-1), other4)
    }).pipe(Effect.provide(layer))
  )
})

describe("the tunnel's DNS service", () => {
  it.effect("answers both families, absence and foreign names over the wire format, without waiting", () =>
    Effect.gen(function* () {
      yield* dns(answer(["10.0.0.1", "fd5a::1"]))
      assert.strictEqual(addressesIn(yield* query("git.corp")).length, 4)
      yield* TestClock.adjust(0)
      assert.strictEqual(addressesIn(yield* query("GIT.corp", recordType.AAAA)).length, 4)
      assert.strictEqual((yield* query("git.corp", recordType.HTTPS)).rcode, rcode.NoError)
      assert.strictEqual((yield* query("git.corp", recordType.A, "100.64.1.2")).rcode, rcode.NXDomain)
      assert.strictEqual((yield* query("example.org")).rcode, rcode.Refused)
    }).pipe(Effect.provide(layerOf({ ...config, otherNames: "refuse" })))
  )
})

describe("what is remembered of clients", () => {
  const remembered = Effect.gen(function* () {
    return (yield* (yield* StateStore).clients).find((row) => row.client === clientId(1))
  })

  it.effect("is written within a second, and a gateway that starts within 3 minutes calls them", () =>
    Effect.gen(function* () {
      yield* online.pipe(
        Effect.andThen(TestClock.adjust("1100 millis")),
        Effect.provide(onMemory(config), { local: true })
      )
      const row = yield* remembered
      assert.deepInclude(row, { endpoint: { address: "192.0.2.2", port: 40_001 }, lastSeenAt: 60_000 })
      assert.match(row?.lastTai64n ?? "", /^40/)
      yield* Effect.gen(function* () {
        const network = yield* DataPlaneMemory.MemoryNetwork
        const called: Array<number> = []
        yield* network.onDatagram((to, datagram) => {
          if (datagram[0] === 1) called.push(to.port)
        })
        // The first call was made before anybody listened; this is its repetition.
        yield* TestClock.adjust("6 seconds")
        assert.deepStrictEqual(called, [40_001])
        // Nobody answers: what is known of the client stays known.
        yield* TestClock.adjust("3 minutes")
      }).pipe(Effect.provide(onMemory(config), { local: true }))
      const { sentTick, ...later } = (yield* remembered)!
      assert.deepInclude(row, later)
      assert.isAbove(sentTick, row!.sentTick)
    }).pipe(Effect.provide(layerStore))
  )

  it.effect("is no reason for a gateway of a site to call them at its start: another one may have them by then", () =>
    Effect.gen(function* () {
      yield* online.pipe(
        Effect.andThen(TestClock.adjust("1100 millis")),
        Effect.provide(onMemory(config), { local: true })
      )
      const site = SiteLive.layer(null, () => config).pipe(Layer.provide(SharedStoreMemory.layer(new SiteMemory())))
      yield* Effect.gen(function* () {
        const network = yield* DataPlaneMemory.MemoryNetwork
        const called: Array<number> = []
        yield* network.onDatagram((to) => called.push(to.port))
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(called, [])
      }).pipe(Effect.provide(onMemory(config).pipe(Layer.provide(site)), { local: true }))
    }).pipe(Effect.provide(layerStore))
  )

  it.effect("is of the device, where that is known: another one of the same name has nothing of it", () =>
    Effect.gen(function* () {
      const old = makeClient(1)
      const [first, ...others] = config.clients
      const replaced = {
        ...config,
        grants: [],
        clients: [{ ...first!, publicKey: upsertClient(9).publicKey }, ...others]
      }
      /** Whom a gateway with the replaced device in its file calls, which has connected with a clock that is right. */
      const called = Effect.gen(function* () {
        const network = yield* DataPlaneMemory.MemoryNetwork
        const ports: Array<number> = []
        yield* network.onDatagram((to, datagram) => {
          if (datagram[0] === 1) ports.push(to.port)
        })
        yield* TestClock.adjust("6 seconds")
        yield* connect(makeClient(9))
        const state = (yield* (yield* DataPlane).clients).get(clientId(1))
        return { ports, connected: state?.connected, behindMs: state?.behindMs }
      }).pipe(Effect.provide(onMemory(replaced), { local: true }))
      yield* Effect.gen(function* () {
        yield* TestClock.adjust("1 minute")
        old.wireguard.initiate(old.peer, 60_000, 60_000 + 86_400_000)
        yield* exchange([old])
        yield* TestClock.adjust("1100 millis")
      }).pipe(Effect.provide(onMemory(config), { local: true }))
      const row = (yield* remembered)!
      assert.strictEqual(row.publicKey, first!.publicKey)

      assert.deepStrictEqual(yield* called, { ports: [], connected: true, behindMs: 0 })
      yield* (yield* StateStore).putClients([{ ...row, publicKey: null }])
      const unknown = yield* called
      assert.deepStrictEqual(unknown.ports, [40_001])
      assert.isAbove(unknown.behindMs ?? 0, 0)
    }).pipe(Effect.provide(layerStore))
  )

  it.effect("is written for all of them, those who connect in the same second included", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust("1 minute")
      yield* connect(makeClient(1))
      yield* connect(makeClient(2))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(
        (yield* (yield* StateStore).clients).map((row) => row.client),
        [clientId(1), clientId(2)]
      )
    }).pipe(Effect.provide(layer))
  )

  it.effect("is written as soon as the disk has room again, with one line about the time without", () =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        const disk = yield* Disk
        disk.full = true
        yield* online
        yield* TestClock.adjust("5 seconds")
        assert.isUndefined(yield* remembered)
        assert.strictEqual(lines.filter((line) => line.includes("not remembered")).length, 1)
        disk.full = false
        yield* TestClock.adjust("1 second")
        assert.strictEqual((yield* remembered)?.lastSeenAt, 60_000)
      }).pipe(Effect.provide(layer))
    )
  )
})
