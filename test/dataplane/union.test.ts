/** Rights are a union: what any of the resources that cover a name, or a network, lets through passes, as long as that one lasts. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Command, SetResource } from "../../src/dataplane/commands.ts"
import type { PortFilter } from "../../src/model/PortFilter.ts"
import {
  ack,
  counter,
  destinations,
  icmpOf,
  lan,
  network,
  ready,
  real4,
  reply,
  send,
  syn,
  tcp,
  tcpBack
} from "../support/engineSteps.ts"
import { addresses, clientId, layer, policy, proxy4, resourceId, setMapping } from "../support/engineWorld.ts"
import { sendInner } from "../support/memoryClient.ts"

const tcpTo = (port: number): ReadonlyArray<PortFilter> => [{ protocol: "tcp", from: port, to: port }]
const dns = (id: string, port: number, over: Partial<SetResource> = {}): SetResource =>
  network(id, null, { kind: "dns", filters: tcpTo(port), ...over })
const revoke = (id: string): Command => ({ _tag: "RevokeResource", client: clientId(1), resource: resourceId(id) })
const covered = (...ids: ReadonlyArray<string>) => setMapping(1, "app.corp", [proxy4], 1, ids)

/** A name that two resources cover, `web` with port 80 and `admin` with port 81, and a flow to each port. */
const opened = Effect.gen(function* () {
  const client = yield* ready()
  const out = yield* lan
  yield* send(revoke("app"), dns("web", 80), dns("admin", 81), covered("admin", "web"))
  yield* send(addresses(1, 1, "Resolved", [real4]))
  yield* sendInner(client, tcp(80, syn, proxy4, 50_080), tcp(81, syn, proxy4, 50_081), tcp(82, syn, proxy4, 50_082))
  assert.deepStrictEqual(destinations(out), [real4, real4])
  assert.deepStrictEqual(icmpOf(client.received), [[3, 13]])
  yield* reply(client, tcpBack(80, syn | ack, real4, 50_080), tcpBack(81, syn | ack, real4, 50_081))
  assert.lengthOf(client.received, 3)
  client.received.length = 0
  out.length = 0
  /** Whether the flow to each of the ports passes, both ways. */
  const passes = (...ports: ReadonlyArray<number>) =>
    Effect.gen(function* () {
      const flows = []
      for (const port of ports) {
        out.length = 0
        client.received.length = 0
        yield* reply(client, tcpBack(port, ack, real4, 50_000 + port))
        const inwards = client.received.length === 1
        yield* sendInner(client, tcp(port, ack, proxy4, 50_000 + port))
        flows.push(inwards && out.length === 1)
      }
      return flows
    })
  return { client, out, passes }
})

describe("a name that two resources cover", () => {
  for (const [withdrawn, left] of [
    [
      { id: "admin", port: 81 },
      { id: "web", port: 80 }
    ],
    [
      { id: "web", port: 80 },
      { id: "admin", port: 81 }
    ]
  ] as const) {
    it.effect(
      `loses with ${withdrawn.id} what that alone allowed, and gets it back with it, open connections too`,
      () =>
        Effect.gen(function* () {
          const { client, passes } = yield* opened
          yield* send(revoke(withdrawn.id), covered(left.id))
          assert.deepStrictEqual(yield* passes(left.port, withdrawn.port), [true, false])
          assert.deepStrictEqual(icmpOf(client.received), [[3, 13]])
          yield* send(covered("admin", "web"), dns(withdrawn.id, withdrawn.port))
          assert.deepStrictEqual(yield* passes(left.port, withdrawn.port), [true, true])
        }).pipe(Effect.provide(layer))
    )
  }

  it.effect("gets open connections back with their resource, whatever else was granted meanwhile", () =>
    Effect.gen(function* () {
      const { passes } = yield* opened
      yield* send(revoke("admin"), covered("web"), dns("wiki", 81), network("lab", "10.30.0.0/16"))
      assert.deepStrictEqual(yield* passes(80, 81), [true, false])
      yield* send(covered("admin", "web"), dns("admin", 81))
      assert.deepStrictEqual(yield* passes(80, 81), [true, true])
    }).pipe(Effect.provide(layer))
  )

  it.effect("keeps flows that the other resource allows as well, when theirs goes or is narrowed", () =>
    Effect.gen(function* () {
      for (const change of [[revoke("admin"), covered("web")], [dns("admin", 99)], [covered("web")]]) {
        const { passes } = yield* Effect.tap(opened, () => send(dns("web", 80, { filters: [] })))
        yield* send(...change)
        assert.deepStrictEqual(yield* passes(80, 81), [true, true])
        yield* send(dns("web", 80))
        assert.deepStrictEqual(yield* passes(80, 81), [true, false])
      }
    }).pipe(Effect.provide(layer))
  )

  it.effect("ends flows of a resource that does not cover it any more, and keeps the others", () =>
    Effect.gen(function* () {
      const { passes } = yield* opened
      yield* send(covered("web"))
      assert.deepStrictEqual(yield* passes(80, 81), [true, false])
    }).pipe(Effect.provide(layer))
  )

  it.effect("goes on by whichever comes back first when both were gone", () =>
    Effect.gen(function* () {
      const { passes } = yield* opened
      yield* send(revoke("web"), revoke("admin"), covered("web"), dns("web", 80))
      yield* send(addresses(1, 2, "Resolved", [real4]))
      assert.deepStrictEqual(yield* passes(80, 81), [true, false])
      yield* send(covered("web", "admin"), dns("admin", 81))
      assert.deepStrictEqual(yield* passes(80, 81), [true, true])
    }).pipe(Effect.provide(layer))
  )

  it.effect("may lead to the gateway's host by the ports of that one only which opts in", () =>
    Effect.gen(function* () {
      const { client, out } = yield* opened
      yield* send(dns("admin", 81, { allow: ["gateway_host"] }), addresses(1, 2, "Resolved", ["10.20.0.1"]))
      yield* sendInner(client, tcp(80, syn, proxy4, 1_080), tcp(81, syn, proxy4, 1_081))
      assert.deepStrictEqual(destinations(out), ["10.20.0.1"])
      assert.deepStrictEqual(icmpOf(client.received), [[3, 0]])
      yield* send(dns("admin", 81, { filters: [], allow: ["gateway_host"] }))
      yield* sendInner(client, tcp(80, syn, proxy4, 1_082))
      assert.deepStrictEqual(destinations(out), ["10.20.0.1", "10.20.0.1"])
    }).pipe(Effect.provide(layer))
  )
})

describe("networks that overlap", () => {
  const wide = network("wide", "10.20.0.0/16", { filters: tcpTo(80) })
  const narrow = network("narrow", "10.20.0.10/32", { filters: tcpTo(81) })

  it.effect("give what any of them allows, and lose with one only what that alone allowed", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      const flow = (port: number, flags: number) => tcp(port, flags, real4, 50_000 + port)
      const back = (port: number) => tcpBack(port, ack, real4, 50_000 + port)
      yield* send(wide, narrow)
      yield* sendInner(client, flow(80, syn), flow(81, syn), flow(82, syn))
      assert.lengthOf(out, 2)
      assert.deepStrictEqual(icmpOf(client.received), [[3, 13]])
      yield* send({ ...wide, filters: [] }, revoke("narrow"))
      yield* reply(client, back(80), back(81))
      assert.lengthOf(client.received, 3)
      yield* send(wide)
      yield* reply(client, back(80), back(81))
      assert.lengthOf(client.received, 4)
      yield* sendInner(client, flow(81, ack))
      assert.strictEqual(yield* counter("outbound.filtered"), 2)
    }).pipe(Effect.provide(layer))
  )

  it.effect("lead to the gateway's host where any of them that lets the packet through opts in", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      const out = yield* lan
      yield* send(
        policy,
        network("host", "10.20.0.0/24", { filters: [] }),
        network("all", "10.0.0.0/8", { filters: tcpTo(22), allow: ["gateway_host"] })
      )
      yield* sendInner(client, tcp(22, syn, "10.20.0.1"), tcp(23, syn, "10.20.0.1"))
      assert.deepStrictEqual(destinations(out), ["10.20.0.1"])
      assert.deepStrictEqual(icmpOf(client.received), [[3, 0]])
      assert.strictEqual(yield* counter("outbound.destination_refused"), 1)
    }).pipe(Effect.provide(layer))
  )
})
