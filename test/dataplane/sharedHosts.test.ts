/** Resources that lead to the same real host: each has its own filter, its own flows, and its own end. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Command } from "../../src/dataplane/commands.ts"
import type { PortFilter } from "../../src/model/PortFilter.ts"
import { formatAddress } from "../../src/packet/address.ts"
import {
  ack,
  counter,
  icmpOf,
  lan,
  network,
  parsed,
  ready,
  real4,
  reply,
  send,
  syn,
  tcp,
  tcpBack
} from "../support/engineSteps.ts"
import { addresses, clientId, layer, proxy4, resourceId, setMapping } from "../support/engineWorld.ts"
import { sendInner } from "../support/memoryClient.ts"

const wikiProxy = "100.96.0.8"
const only = (port: number): ReadonlyArray<PortFilter> => [{ protocol: "tcp", from: port, to: port }]

const dnsResource = (id: string, filters: ReadonlyArray<PortFilter>): Command =>
  network(id, null, { kind: "dns", filters })

const mapped = (id: string, domain: string, proxyIps: ReadonlyArray<string>): ReadonlyArray<Command> => [
  setMapping(1, domain, proxyIps, 1, [id]),
  addresses(1, 1, "Resolved", [real4], domain)
]

/** `app` and `wiki` are names on `real4`; what they permit is theirs. */
const twoNames = Effect.fnUntraced(function* (app: ReadonlyArray<PortFilter>, wiki: ReadonlyArray<PortFilter>) {
  const client = yield* ready({ filters: app })
  const out = yield* lan
  yield* send(
    addresses(1, 1, "Resolved", [real4]),
    dnsResource("wiki", wiki),
    ...mapped("wiki", "wiki.corp", [wikiProxy])
  )
  return { client, out }
})

const portsOf = (packets: ReadonlyArray<Uint8Array>) => packets.map((packet) => parsed(packet).destinationPort)
const revoke = (id: string): Command => ({
  _tag: "RevokeResource",
  client: clientId(1),
  resource: resourceId(id)
})

describe("two names on one real host", () => {
  it.effect("have the port filters of their own resources", () =>
    Effect.gen(function* () {
      const { client, out } = yield* twoNames(only(443), only(22))
      yield* sendInner(client, ...[443, 22].flatMap((port) => [tcp(port, syn), tcp(port, syn, wikiProxy)]))
      assert.deepStrictEqual(portsOf(out), [443, 22])
      assert.deepStrictEqual(
        client.received.map((packet) => formatAddress(parsed(packet).source)),
        [wikiProxy, proxy4]
      )
      assert.deepStrictEqual(icmpOf(client.received), [
        [3, 13],
        [3, 13]
      ])
    }).pipe(Effect.provide(layer))
  )

  it.effect("end apart: with its resource one flow ends in both directions, for good, and the other goes on", () =>
    Effect.gen(function* () {
      const { client, out } = yield* twoNames([], [])
      yield* sendInner(client, tcp(443, syn), tcp(443, syn, wikiProxy))
      const answers = out.map((packet) => tcpBack(443, syn | ack, real4, parsed(packet).sourcePort))
      yield* reply(client, ...answers)
      assert.strictEqual(client.received.length, 2)
      yield* send(revoke("app"))
      yield* reply(client, ...answers)
      assert.strictEqual(formatAddress(parsed(client.received[2]).source), wikiProxy)
      yield* send(dnsResource("app", []), ...mapped("app", "app.corp", [proxy4]))
      yield* reply(client, ...answers)
      assert.deepStrictEqual(
        client.received.slice(2).map((packet) => formatAddress(parsed(packet).source)),
        [wikiProxy, wikiProxy]
      )
      assert.strictEqual(yield* counter("inbound.no_session"), 2)
    }).pipe(Effect.provide(layer))
  )
})

describe("a name on a host of a network resource", () => {
  it.effect("has the filter of its own resource, and the network has its own", () =>
    Effect.gen(function* () {
      const client = yield* ready({ filters: only(443) })
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]), network("lab", "10.20.0.0/16", { filters: only(22) }))
      yield* sendInner(client, ...[443, 22].flatMap((port) => [tcp(port, syn), tcp(port, syn, real4)]))
      assert.deepStrictEqual(portsOf(out), [443, 22])
      assert.deepStrictEqual(
        client.received.map((packet) => formatAddress(parsed(packet).source)),
        [real4, proxy4]
      )
    }).pipe(Effect.provide(layer))
  )

  it.effect("goes on when the network is revoked, whose own flow to that host ends", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]), network("lab", "10.20.0.0/16"))
      yield* sendInner(client, tcp(443, syn), tcp(443, syn, real4))
      const ports = out.map((packet) => parsed(packet).sourcePort)
      yield* send(revoke("lab"))
      yield* reply(client, ...ports.map((port) => tcpBack(443, syn | ack, real4, port)))
      assert.deepStrictEqual(
        client.received.map((packet) => formatAddress(parsed(packet).source)),
        [proxy4]
      )
    }).pipe(Effect.provide(layer))
  )
})

describe("names under one pattern", () => {
  it.effect("have the resource's filter as it is now, mapped before the change or after it", () =>
    Effect.gen(function* () {
      const client = yield* ready({ filters: only(443) })
      const out = yield* lan
      yield* send(addresses(1, 1, "Resolved", [real4]), dnsResource("app", only(22)))
      yield* send(...mapped("app", "b.corp", [wikiProxy]))
      yield* sendInner(client, ...[443, 22].flatMap((port) => [tcp(port, syn), tcp(port, syn, wikiProxy)]))
      assert.deepStrictEqual(portsOf(out), [22, 22])
      assert.strictEqual(yield* counter("outbound.filtered"), 2)
    }).pipe(Effect.provide(layer))
  )
})
