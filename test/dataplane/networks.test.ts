/** CIDR and Internet resources: flows without translation. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { TestClock } from "effect/testing"
import { formatAddress } from "../../src/packet/address.ts"
import {
  ack,
  counter,
  destinations,
  fin,
  icmpOf,
  lan,
  network,
  parsed,
  ready,
  real4,
  real6,
  reply,
  send,
  syn,
  tcp,
  tcpBack,
  udp,
  udpBack
} from "../support/engineSteps.ts"
import { addresses, clientId, layer, policy, proxy4, resourceId, tunnel4, tunnel6 } from "../support/engineWorld.ts"
import { sendInner } from "../support/memoryClient.ts"
import { buildIcmp, buildIp, buildTcp, buildUdp } from "../support/packets.ts"

const lab = network("lab", "10.20.0.0/16")

describe("a network resource", () => {
  it.effect("passes packets and answers unchanged, over both families", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(lab, network("lab6", "fd5a:20::/64"))
      const there = [
        tcp(443, syn, real4),
        buildUdp({ source: tunnel6(1), destination: real6, sourcePort: 7, destinationPort: 53 })
      ]
      yield* sendInner(client, ...there)
      assert.deepStrictEqual(
        out.map((p) => [...p]),
        there.map((p) => [...p])
      )
      const back = [
        tcpBack(443, syn | ack),
        buildUdp({ source: real6, destination: tunnel6(1), sourcePort: 53, destinationPort: 7 })
      ]
      yield* reply(client, ...back)
      assert.deepStrictEqual(
        client.received.map((p, i) => [...p.subarray(0, back[i]!.length)]),
        back.map((p) => [...p])
      )
    }).pipe(Effect.provide(layer))
  )

  it.effect("is dropped from outside without a flow, and prohibited beyond its network or filter", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      yield* send({ ...lab, filters: [{ protocol: "tcp", from: 443, to: 443 }] })
      yield* reply(client, tcpBack(443, syn))
      assert.strictEqual(client.received.length, 0)
      yield* sendInner(client, tcp(443, syn, "10.21.0.1"), tcp(22, syn, real4))
      assert.deepStrictEqual(icmpOf(client.received), [
        [3, 13],
        [3, 13]
      ])
      assert.deepStrictEqual([yield* counter("outbound.unauthorized"), yield* counter("outbound.filtered")], [1, 1])
    }).pipe(Effect.provide(layer))
  )

  it.effect("in IPv6 is told to be unreachable while the host has no way out for it, flows that it had as well", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(lab, network("lab6", "fd5a:20::/64"))
      const six = buildUdp({ source: tunnel6(1), destination: real6, sourcePort: 7, destinationPort: 53 })
      yield* sendInner(client, six)
      yield* send({ ...policy, wayOut6: false })
      yield* sendInner(client, six, tcp(443, syn, real4))
      assert.deepStrictEqual(icmpOf(client.received), [[1, 4]])
      assert.strictEqual(out.length, 2)
      yield* send(policy)
      yield* sendInner(client, six)
      assert.strictEqual(out.length, 3)
    }).pipe(Effect.provide(layer))
  )

  it.effect("never reaches the gateway's own address in it, unless it opts in", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(lab)
      yield* sendInner(client, tcp(22, syn, "10.20.0.1"))
      assert.deepStrictEqual(icmpOf(client.received), [[3, 0]])
      yield* send({ ...lab, allow: ["gateway_host"] })
      yield* sendInner(client, tcp(22, syn, "10.20.0.1"))
      assert.deepStrictEqual(destinations(out), ["10.20.0.1"])
      yield* send(lab)
      yield* reply(client, tcpBack(22, ack, "10.20.0.1"))
      assert.strictEqual(client.received.length, 1)
    }).pipe(Effect.provide(layer))
  )

  it.effect("lets through what was said of it for the client, be it something else for another", () =>
    Effect.gen(function* () {
      const clients = [yield* ready(), yield* ready({}, 2)]
      const out = yield* lan
      const labOf = (n: number, port: number) => ({
        ...lab,
        client: clientId(n),
        filters: [{ protocol: "tcp" as const, from: port, to: port }]
      })
      const opened = Effect.gen(function* () {
        for (const [i, client] of clients.entries()) {
          const tcp = (destinationPort: number) =>
            buildTcp({ source: tunnel4(i + 1), destination: real4, sourcePort: 50_000, destinationPort, flags: syn })
          yield* sendInner(client, tcp(443), tcp(22))
        }
        return out.splice(0).map((packet) => [formatAddress(parsed(packet).source), parsed(packet).destinationPort])
      })
      yield* send(labOf(1, 443), labOf(2, 22))
      assert.deepStrictEqual(yield* opened, [
        [tunnel4(1), 443],
        [tunnel4(2), 22]
      ])
      yield* send(labOf(1, 22), labOf(2, 22))
      assert.deepStrictEqual(yield* opened, [
        [tunnel4(1), 22],
        [tunnel4(2), 22]
      ])
    }).pipe(Effect.provide(layer))
  )

  it.effect("shares a real host with a name: the answers of both come back to their own ports", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(lab, addresses(1, 1, "Resolved", [real4]))
      yield* sendInner(client, tcp(443, syn), tcp(443, syn, real4))
      const ports = out.map((packet) => parsed(packet).sourcePort)
      assert.notStrictEqual(ports[0], ports[1])
      yield* reply(client, ...ports.map((port) => tcpBack(443, syn | ack, real4, port)))
      assert.deepStrictEqual(
        client.received.map((packet) => [formatAddress(parsed(packet).source), parsed(packet).destinationPort]),
        [
          [proxy4, 50_000],
          [real4, 50_000]
        ]
      )
    }).pipe(Effect.provide(layer))
  )

  it.effect("brings back ICMP errors from the address the client sent to, for any protocol", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(lab, network("lab6", "fd5a:20::/64"))
      const gre = buildIp({ source: tunnel4(1), destination: real4 }, 47, new Uint8Array(16))
      const gre6 = buildIp({ source: tunnel6(1), destination: real6 }, 47, new Uint8Array(16))
      yield* sendInner(client, udp(53, real4), gre, gre6)
      assert.strictEqual(out.length, 3)
      const error = { source: "10.20.0.254", destination: tunnel4(1), type: 11, code: 0 }
      yield* reply(
        client,
        buildIcmp({ ...error, payload: out[0]! }),
        buildIcmp({ ...error, payload: out[1]! }),
        buildIcmp({ ...error, source: "fd5a:20::fe", destination: tunnel6(1), type: 3, payload: out[2]! })
      )
      // Built by the test's own code, checksums included.
      const expected = [
        buildIcmp({ ...error, source: real4, payload: out[0]! }),
        buildIcmp({ ...error, source: real4, payload: out[1]! }),
        buildIcmp({ ...error, source: real6, destination: tunnel6(1), type: 3, payload: out[2]! })
      ]
      assert.deepStrictEqual(
        client.received.map((p, i) => [...p.subarray(0, expected[i]!.length)]),
        expected.map((p) => [...p])
      )
    }).pipe(Effect.provide(layer))
  )

  it.effect("keeps a port that is used again at once open for longer than the old connection's 5 seconds", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      yield* send(lab)
      yield* sendInner(client, tcp(443, syn, real4))
      yield* reply(client, tcpBack(443, fin | ack))
      yield* sendInner(client, tcp(443, fin | ack, real4), tcp(443, syn, real4))
      yield* reply(client, tcpBack(443, syn | ack))
      yield* TestClock.adjust("30 seconds")
      yield* reply(client, tcpBack(443, ack))
      assert.strictEqual(client.received.length, 3)
    }).pipe(Effect.provide(layer))
  )

  const live = Effect.gen(function* () {
    const client = yield* ready()
    const out = yield* lan
    yield* send(lab)
    yield* sendInner(client, tcp(443, syn, real4))
    yield* reply(client, tcpBack(443, syn | ack))
    return { client, out }
  })

  for (const [title, command] of [
    ["is revoked", { _tag: "RevokeResource", client: clientId(1), resource: resourceId("lab") }],
    ["gets another network", network("lab", "10.99.0.0/16")],
    ["gets another filter", { ...lab, filters: [{ protocol: "udp", from: 0, to: 65_535 }] }],
    ["becomes a name", { ...lab, kind: "dns", network: null }],
    ["has an address that becomes the gateway's own", { ...policy, ownAddresses: [real4] }]
  ] as const) {
    it.effect(`that ${title} cuts its flows in both directions`, () =>
      Effect.gen(function* () {
        const { client, out } = yield* live
        yield* send(command)
        yield* reply(client, tcpBack(443, ack))
        yield* sendInner(client, tcp(443, ack, real4))
        assert.strictEqual(out.length, 1)
        assert.strictEqual(client.received.filter((packet) => parsed(packet).protocol === 6).length, 1)
      }).pipe(Effect.provide(layer))
    )
  }

  it.effect("of two that cover an address the narrower one counts, and the wider one where its filter denies", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(
        { ...lab, filters: [{ protocol: "tcp", from: 22, to: 22 }] },
        network("host", `${real4}/32`, { filters: [{ protocol: "tcp", from: 443, to: 443 }] })
      )
      yield* sendInner(client, tcp(443, syn, real4), tcp(22, syn, real4), tcp(80, syn, real4))
      assert.strictEqual(out.length, 2)
      yield* send({ _tag: "RevokeResource", client: clientId(1), resource: resourceId("host") })
      yield* reply(client, tcpBack(443, syn | ack), tcpBack(22, syn | ack))
      assert.deepStrictEqual(
        client.received.map((packet) => parsed(packet).protocol),
        [1, 6]
      )
    }).pipe(Effect.provide(layer))
  )
})

describe("the Internet resource", () => {
  it.effect("reaches public addresses of both families and nothing private", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(network("internet", null, { kind: "internet" }))
      yield* sendInner(
        client,
        udp(53, "9.9.9.9"),
        buildTcp({ source: tunnel6(1), destination: "2606:4700::1", sourcePort: 1, destinationPort: 443, flags: syn })
      )
      assert.deepStrictEqual(destinations(out), ["9.9.9.9", "2606:4700::1"])
      yield* sendInner(
        client,
        ...["10.20.0.10", "192.168.1.1", "169.254.169.254", "127.0.0.1"].map((to) => udp(53, to)),
        buildUdp({ source: tunnel6(1), destination: "fd5a:20::10", sourcePort: 1, destinationPort: 53 })
      )
      assert.strictEqual(out.length, 2)
      assert.strictEqual(yield* counter("outbound.destination_refused"), 5)
      yield* sendInner(client, udp(443, "10.20.0.10"))
      // Those are told, for all names of such a client fail.
      assert.strictEqual(yield* counter("outbound.private_dns_refused"), 5)
      yield* reply(client, udpBack(53, "9.9.9.9"))
      assert.strictEqual(formatAddress(parsed(client.received.at(-1)).source), "9.9.9.9")
    }).pipe(Effect.provide(layer))
  )

  it.effect("leads to no other client, no proxy IP and nothing else of the tunnel's ranges, nor from there", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const other = yield* ready({}, 2)
      const out = yield* lan
      yield* send(network("internet", null), network("internet", null, { client: clientId(2) }))
      yield* sendInner(
        client,
        ...[tunnel4(2), "100.64.7.7", "100.96.7.7"].map((to) => udp(53, to)),
        ...[tunnel6(2), "fd00:2021:1111::7", "fd00:2021:1111:8000::77"].map((destination) =>
          buildUdp({ source: tunnel6(1), destination, sourcePort: 1, destinationPort: 53 })
        )
      )
      assert.strictEqual(client.received.length, 6)
      assert.strictEqual(yield* counter("outbound.tunnel_address"), 4)
      yield* reply(
        other,
        buildUdp({ source: tunnel4(1), destination: tunnel4(2), sourcePort: 53, destinationPort: 9 }),
        buildUdp({ source: tunnel6(1), destination: tunnel6(2), sourcePort: 53, destinationPort: 9 })
      )
      assert.deepStrictEqual([out.length, other.received.length], [0, 0])
    }).pipe(Effect.provide(layer))
  )

  it.effect("gives way to a network resource, also where it is private", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(network("internet", null, { kind: "internet" }), lab)
      yield* sendInner(client, udp(53, real4))
      assert.deepStrictEqual(destinations(out), [real4])
    }).pipe(Effect.provide(layer))
  )
})
