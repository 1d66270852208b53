/** Segments from outside of connections that were open before the gateway, or before their client came to it. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { TestClock } from "effect/testing"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import type { Command } from "../../src/dataplane/commands.ts"
import { formatAddress } from "../../src/packet/address.ts"
import { read32 } from "../../src/packet/bytes.ts"
import {
  ack,
  counter,
  destinations,
  fin,
  lan,
  network,
  other4,
  parsed,
  ready,
  real4,
  real6,
  reply,
  reported,
  rst,
  send,
  syn,
  tcp
} from "../support/engineSteps.ts"
import {
  addresses,
  clientId,
  layer,
  mappingId,
  nameCommands,
  packetsAt,
  policy,
  proxy4,
  proxy6,
  setMapping,
  tunnel4,
  tunnel6
} from "../support/engineWorld.ts"
import { connect, type MemoryClient, sendInner } from "../support/memoryClient.ts"
import { buildTcp, buildUdp } from "../support/packets.ts"

const routed = { ...policy, packets: packetsAt.routed }
const answered = 77_000

/** What a server sends in a flow whose last byte that it has was the client's `answered - 1`th. */
const segment = (over: Partial<Parameters<typeof buildTcp>[0]> = {}) =>
  buildTcp({
    source: real4,
    destination: tunnel4(1),
    sourcePort: 443,
    destinationPort: 50_000,
    flags: ack,
    sequence: 5_000,
    acknowledgement: answered,
    payload: new Uint8Array(100),
    ...over
  })

/** Client 1 has connected to a gateway that knows the name's address, and none of its flows. */
const arrived = Effect.fnUntraced(function* (...more: ReadonlyArray<Command>) {
  const client = yield* ready()
  yield* send(routed, addresses(1, 1, "Resolved", [real4, real6]), ...more)
  return { client, out: yield* lan }
})

/** Source, sequence and acknowledgement number, and payload length of what the client was sent. */
const probesOf = ({ received }: MemoryClient) =>
  received.map((packet) => {
    const view = parsed(packet)
    assert.strictEqual(view.tcpFlags, ack)
    assert.deepStrictEqual([view.sourcePort, view.destinationPort], [443, 50_000])
    const [sequence, acknowledgement] = [read32(packet, view.transport + 4), read32(packet, view.transport + 8)]
    return [formatAddress(view.source), sequence, acknowledgement, view.transportLength]
  })

/** Source and sequence number of the server's own segments that have come to the client, whole and intact. */
const dataOf = ({ received }: MemoryClient) =>
  received.flatMap((packet) => {
    const view = parsed(packet)
    if (view.transportLength === 20) return []
    const [address, sequence] = [formatAddress(view.source), read32(packet, view.transport + 4)]
    assert.deepStrictEqual(packet.subarray(0, view.length), segment({ source: address, sequence }))
    return [[address, sequence]]
  })

const answer = (flags: number, sequence = answered, destination = proxy4) =>
  buildTcp({ source: tunnel4(1), destination, sourcePort: 50_000, destinationPort: 443, flags, sequence })

describe("a segment from where a client may have a connection to", () => {
  it.effect(
    "makes the gateway ask the client, and waits for its answer, which opens the way for it and for the next",
    () =>
      Effect.gen(function* () {
        const { client, out } = yield* arrived()
        yield* reply(client, segment())
        assert.deepStrictEqual(probesOf(client), [[proxy4, 4_999, answered, 20]])

        yield* sendInner(client, answer(ack))
        assert.deepStrictEqual(destinations(out), [real4])
        assert.deepStrictEqual(dataOf(client), [[proxy4, 5_000]])
        yield* reply(client, segment({ sequence: 5_100 }))

        assert.deepStrictEqual(dataOf(client), [
          [proxy4, 5_000],
          [proxy4, 5_100]
        ])
        assert.strictEqual(yield* counter("probes.sent"), 1)
        assert.strictEqual(yield* counter("probes.released"), 1)
      }).pipe(Effect.provide(layer))
  )

  it.effect("makes it ask in IPv6 as well, and with the time stamps that the two have agreed on", () =>
    Effect.gen(function* () {
      const { client } = yield* arrived()
      const stamps = Uint8Array.from([1, 1, 8, 10, 0, 0, 1, 2, 0, 0, 3, 4])
      yield* reply(client, segment({ source: real6, destination: tunnel6(1), tcpOptions: stamps }))

      assert.deepStrictEqual(probesOf(client), [[proxy6, 4_999, answered, 32]])
      assert.deepStrictEqual(client.received[0]!.subarray(60, 72), stamps)
    }).pipe(Effect.provide(layer))
  )

  it.effect("makes it ask in the name of an address that is a network's", () =>
    Effect.gen(function* () {
      const { client, out } = yield* arrived(network("lab", "10.20.0.0/16"))
      yield* reply(client, segment({ source: other4 }))
      assert.deepStrictEqual(probesOf(client), [[other4, 4_999, answered, 20]])

      yield* sendInner(client, answer(ack, answered, other4))
      assert.deepStrictEqual(destinations(out), [other4])
    }).pipe(Effect.provide(layer))
  )

  it.effect("makes it ask by each proxy IP that leads there, the last name first, and by eight at most", () =>
    Effect.gen(function* () {
      const proxiesOf = (n: number) => [1, 2, 3, 4].map((i) => `100.96.${n}.${i}`)
      const names = [1, 2, 3].flatMap((n) => [
        setMapping(1, `n${n}.corp`, proxiesOf(n)),
        addresses(1, 1, "Resolved", [real4], `n${n}.corp`)
      ])
      const { client } = yield* arrived(...names)
      yield* reply(client, segment())

      assert.deepStrictEqual(
        probesOf(client).map(([from]) => from),
        [...proxiesOf(3), ...proxiesOf(2)]
      )
    }).pipe(Effect.provide(layer))
  )

  it.effect("makes it ask by those proxy IPs of a name with several addresses that lead to this one", () =>
    Effect.gen(function* () {
      const proxies = [1, 2, 3, 4].map((i) => `100.96.1.${i}`)
      const { client, out } = yield* arrived(
        setMapping(1, "both.corp", proxies),
        addresses(1, 1, "Resolved", ["10.20.0.30", other4], "both.corp")
      )
      yield* reply(client, segment({ source: other4 }))

      assert.lengthOf(client.received, 2)
      for (const [from] of probesOf(client)) yield* sendInner(client, answer(ack, answered, `${from}`))
      assert.deepStrictEqual(new Set(destinations(out)), new Set([other4]))
    }).pipe(Effect.provide(layer))
  )

  it.effect("waits for no segment more where the name is yet to be looked up, as after a restart", () =>
    Effect.gen(function* () {
      const { client } = yield* arrived(addresses(1, 2, "Unasked"))
      const notices = yield* (yield* DataPlane).notices
      yield* reply(client, segment())
      assert.deepStrictEqual(yield* reported(notices), ["Unmapped"])
      assert.lengthOf(client.received, 0)

      yield* send(addresses(1, 3, "Resolving"), addresses(1, 3, "Resolved", [real4]))

      assert.deepStrictEqual(probesOf(client), [[proxy4, 4_999, answered, 20]])
      yield* send(addresses(1, 4, "Resolved", [real4]))
      yield* TestClock.adjust("2100 millis")
      yield* send(addresses(1, 5, "Resolved", [real4]))
      assert.isAtMost(client.received.length, 2)
    }).pipe(Effect.provide(layer))
  )

  it.effect("waits for such a name, however many have done so in vain", () =>
    Effect.gen(function* () {
      const { client } = yield* arrived(addresses(1, 2, "Unasked"))
      for (let n = 1; n <= 256; n++) yield* reply(client, segment({ destinationPort: 50_000 + n }))
      yield* TestClock.adjust("2100 millis")
      yield* reply(client, segment())

      yield* send(addresses(1, 3, "Resolving"), addresses(1, 3, "Resolved", [real4]))

      assert.deepStrictEqual(probesOf(client), [[proxy4, 4_999, answered, 20]])
    }).pipe(Effect.provide(layer))
  )

  it.effect("is asked about once a second", () =>
    Effect.gen(function* () {
      const { client } = yield* arrived()
      for (let i = 0; i < 20; i++) {
        yield* reply(client, segment())
        yield* TestClock.adjust("100 millis")
      }
      assert.lengthOf(client.received, 2)
    }).pipe(Effect.provide(layer))
  )

  it.effect("of one who tries ports makes the gateway ask 400 times, not more, and nothing opens", () =>
    Effect.gen(function* () {
      const { client, out } = yield* arrived()
      for (let port = 1; port <= 2_000; port++) yield* reply(client, segment({ destinationPort: port }))
      assert.lengthOf(client.received, 400)
      assert.strictEqual(yield* counter("probes.limited"), 1_600)
      assert.lengthOf(out, 0)
      assert.strictEqual(yield* counter("sessions.created"), 0)
    }).pipe(Effect.provide(layer))
  )
})

describe("a segment that waits for the answer goes no further", () => {
  const waits = Effect.fnUntraced(function* (packet = segment()) {
    const { client } = yield* arrived()
    yield* reply(client, packet)
    assert.lengthOf(client.received, 1)
    return client
  })
  const goesOn = Effect.fnUntraced(function* (client: MemoryClient, expected: number) {
    assert.lengthOf(dataOf(client), expected)
    assert.strictEqual(yield* counter("probes.released"), expected)
  })

  it.effect("when the client does not have the connection, or begins another one from that port", () =>
    Effect.gen(function* () {
      const client = yield* waits()
      yield* sendInner(client, answer(rst))
      yield* sendInner(client, answer(syn))
      yield* goesOn(client, 0)
    }).pipe(Effect.provide(layer))
  )

  it.effect("when the answer comes from another port than it was for", () =>
    Effect.gen(function* () {
      const client = yield* waits()
      const other = { source: tunnel4(1), destination: proxy4, sourcePort: 50_001, destinationPort: 443, flags: ack }
      yield* sendInner(client, buildTcp(other))
      yield* goesOn(client, 0)
      yield* sendInner(client, answer(ack))
      yield* goesOn(client, 1)
    }).pipe(Effect.provide(layer))
  )

  it.effect("after two seconds", () =>
    Effect.gen(function* () {
      const client = yield* waits()
      yield* TestClock.adjust("1999 millis")
      yield* reply(client, segment({ destinationPort: 50_001 }))
      client.received.length = 0
      yield* TestClock.adjust("1 millis")
      yield* sendInner(client, answer(ack))
      yield* goesOn(client, 0)
    }).pipe(Effect.provide(layer))
  )

  it.effect("when its client was removed, and is another one's device by now", () =>
    Effect.gen(function* () {
      yield* waits()
      yield* send({ _tag: "RemoveClient", client: clientId(1) })
      const { client } = yield* arrived()
      yield* sendInner(client, answer(ack))
      yield* goesOn(client, 0)
    }).pipe(Effect.provide(layer))
  )
})

describe("the reset of a client that does not have the connection", () => {
  it.effect("does not leave the gateway, at a name or at a network; one of its own does", () =>
    Effect.gen(function* () {
      const { client, out } = yield* arrived(network("lab", "10.20.0.20/32"))
      yield* reply(client, segment(), segment({ source: other4 }))
      yield* sendInner(client, answer(rst), answer(rst, answered, other4))
      assert.lengthOf(out, 0)
      assert.strictEqual(yield* counter("probes.refused"), 2)

      yield* sendInner(client, answer(rst | ack))
      yield* sendInner(client, answer(rst, answered + 1, other4))
      assert.deepStrictEqual(destinations(out), [real4, other4])
    }).pipe(Effect.provide(layer))
  )

  it.effect("leaves where nobody was asked", () =>
    Effect.gen(function* () {
      const { client, out } = yield* arrived()
      yield* sendInner(client, answer(rst))
      assert.deepStrictEqual(destinations(out), [real4])
    }).pipe(Effect.provide(layer))
  )
})

describe("nobody is asked", () => {
  const nobody = Effect.fnUntraced(function* (...packets: ReadonlyArray<Uint8Array>) {
    const { client } = yield* arrived()
    yield* reply(client, ...packets)
    assert.lengthOf(client.received, 0)
    assert.strictEqual(yield* counter("inbound.no_session"), packets.length)
  })

  it.effect("about segments that begin or end a connection, or other packets", () =>
    nobody(
      ...[syn, syn | ack, rst | ack, fin | ack, 0].map((flags) => segment({ flags })),
      buildUdp({ source: real4, destination: tunnel4(1), sourcePort: 443, destinationPort: 50_000 })
    ).pipe(Effect.provide(layer))
  )

  it.effect("about segments from where the client may not have a connection to", () =>
    nobody(segment({ source: other4 })).pipe(Effect.provide(layer))
  )

  it.effect("about a port that the resource does not let through", () =>
    Effect.gen(function* () {
      const filters = [{ protocol: "tcp", from: 22, to: 22 }] as const
      const { client } = yield* arrived(nameCommands(clientId(1), mappingId(1, "app.corp"), { filters })[0]!)
      yield* reply(client, segment())
      assert.lengthOf(client.received, 0)
      yield* reply(client, segment({ sourcePort: 22 }))
      assert.lengthOf(client.received, 1)
    }).pipe(Effect.provide(layer))
  )

  it.effect("where flows are masqueraded", () =>
    Effect.gen(function* () {
      const { client } = yield* arrived(policy)
      yield* reply(client, segment())
      assert.lengthOf(client.received, 0)
    }).pipe(Effect.provide(layer))
  )

  it.effect("when the client has another flow of these ports to there", () =>
    Effect.gen(function* () {
      const { client } = yield* arrived()
      yield* sendInner(client, tcp(443, syn))
      yield* send(addresses(1, 2, "Resolved", [other4]))
      yield* reply(client, segment({ source: other4 }))
      assert.lengthOf(client.received, 0)
    }).pipe(Effect.provide(layer))
  )

  it.effect("of a client that has been here for five minutes, until it comes back from another gateway", () =>
    Effect.gen(function* () {
      const { client } = yield* arrived()
      const comesAnew = Effect.andThen(TestClock.adjust("5 minutes"), connect(client))
      yield* comesAnew
      yield* reply(client, segment())
      assert.lengthOf(client.received, 0)

      // Later than the last one here, which was in the sixth minute.
      const lastTai64n = `${(2n ** 62n + 400n).toString(16)}00000000`
      const endpoint = { address: "192.0.2.2", port: 40_001 }
      const clients = [{ client: clientId(1), endpoint, local: null, lastTai64n, sentTick: 0 }]
      yield* send({ _tag: "SetKnownEndpoints", clients, call: false })
      yield* comesAnew
      yield* reply(client, segment())
      assert.lengthOf(client.received, 1)
    }).pipe(Effect.provide(layer))
  )
})
