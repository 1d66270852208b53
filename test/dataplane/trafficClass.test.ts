/** RFC 6040: the tunnel's header has the packet's traffic class, the packet hears of congestion on the way. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { MemoryNetwork } from "../../layers/memory/DataPlaneMemory.ts"
import { trafficClassOf } from "../../src/packet/trafficClass.ts"
import { ack, counter, lan, network, ready, real4, send, tcp, tcpBack, udp, udpBack } from "../support/engineSteps.ts"
import { layer, offloadingLayer } from "../support/engineWorld.ts"
import { sendInner } from "../support/memoryClient.ts"
import { withTrafficClass } from "../support/packets.ts"

const lab = network("lab", "10.20.0.0/16")

describe("the traffic class", () => {
  it.effect("of a packet to a client is that of its datagram, the WireGuard messages have none", () =>
    Effect.gen(function* () {
      const classes: Array<number> = []
      const client = yield* ready()
      yield* send(lab)
      yield* sendInner(client, udp(53, real4))
      const net = yield* MemoryNetwork
      yield* net.onDatagram((_to, _datagram, trafficClass) => classes.push(trafficClass))
      for (const trafficClass of [0, 0xb8, 0x02, 0x01, 0xbb]) {
        yield* net.routeIn(withTrafficClass(udpBack(53), trafficClass))
      }
      assert.deepStrictEqual(classes, [0, 0xb8, 0x02, 0x01, 0xbb])
    }).pipe(Effect.provide(layer))
  )

  it.effect("ends a batch where it changes", () =>
    Effect.gen(function* () {
      const client = yield* ready()
      yield* send(lab)
      yield* sendInner(client, tcp(443, ack, real4))
      const net = yield* MemoryNetwork
      const sizes: Array<number> = []
      yield* net.onBatch((_, datagrams) => sizes.push(datagrams.length))
      const back = (trafficClass: number) => withTrafficClass(tcpBack(443, ack), trafficClass)
      yield* net.routeInTogether([back(2), back(2), back(3), back(2), back(2), back(2)])
      assert.deepStrictEqual(sizes, [2, 1, 3])
    }).pipe(Effect.provide(offloadingLayer))
  )

  it.effect(
    "of a client's packet stays; congestion on the way is told to who understands it, others lose the packet",
    () =>
      Effect.gen(function* () {
        const client = yield* ready()
        const out = yield* lan
        yield* send(lab)
        const net = yield* MemoryNetwork
        for (const [inner, outer] of [
          [0xb8, 0],
          [0xba, 0x03],
          [0x01, 0x0b],
          [0xb8, 0x03],
          [0x02, 0x01]
        ] as const) {
          client.seal(withTrafficClass(udp(53, real4), inner))
          yield* net.arrive(client.endpoint, client.outbox.splice(0)[0]!, outer)
        }
        assert.deepStrictEqual(
          out.map((packet) => trafficClassOf(packet, 0)),
          [0xb8, 0xbb, 0x03, 0x02]
        )
        assert.strictEqual(yield* counter("udp.congested"), 1)
      }).pipe(Effect.provide(layer))
  )
})
