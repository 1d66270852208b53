/**
 * The data plane in memory: the same engine over queues instead of system calls, in the same thread, driven by the
 * Effect clock. `MemoryNetwork` is the world around it: the outer network on one side, the gateway's LAN on the other.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { countersByteLength, readCounters } from "../../src/dataplane/counters.ts"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import { Engine, type Offloads } from "../../src/dataplane/engine/engine.ts"
import type { VirtioHeader } from "../../src/dataplane/offload/virtioHeader.ts"
import { monotonicMillisUnsafe } from "../../src/loops/monotonic.ts"
import { Arena } from "../../src/packet/arena.ts"
import type { Endpoint } from "../../src/packet/endpoint.ts"
import { makeDataPlaneHub } from "../dataplane/dataPlaneHub.ts"
import { makeMemoryPacketIo } from "./memoryPacketIo.ts"
import { makeNodePrimitives } from "../dataplane/nodePrimitives.ts"

export class MemoryNetwork extends Context.Service<
  MemoryNetwork,
  {
    /** A datagram reaches the gateway's UDP port. Everything it causes has happened when the effect ends. */
    readonly arrive: (from: Readonly<Endpoint>, datagram: Uint8Array, trafficClass?: number) => Effect.Effect<void>
    /** Datagrams of one size (the last may be shorter) reach it as one read. */
    readonly arriveTogether: (from: Readonly<Endpoint>, datagrams: ReadonlyArray<Uint8Array>) => Effect.Effect<void>
    /** Several reads that all wait in the socket when the gateway looks. */
    readonly arriveInTurn: (
      from: Readonly<Endpoint>,
      reads: ReadonlyArray<ReadonlyArray<Uint8Array>>
    ) => Effect.Effect<void>
    /** The gateway's kernel routes a packet into the tunnel; with a header, one that it has not finished. */
    readonly routeIn: (packet: Uint8Array, header?: Readonly<VirtioHeader>) => Effect.Effect<void>
    /** Several, all there when the gateway looks. */
    readonly routeInTogether: (packets: ReadonlyArray<Uint8Array>) => Effect.Effect<void>
    /** Where datagrams and forwarded packets go; replace to listen. Called synchronously, with copies. */
    readonly onDatagram: (
      listener: (to: Endpoint, datagram: Uint8Array, trafficClass: number) => void
    ) => Effect.Effect<void>
    /** The same by sends: one datagram, or a batch. */
    readonly onBatch: (listener: (to: Endpoint, datagrams: ReadonlyArray<Uint8Array>) => void) => Effect.Effect<void>
    /** One write to the TUN device each: a packet, or a super-packet if the header says so. */
    readonly onPacket: (listener: (packet: Uint8Array, header: Readonly<VirtioHeader>) => void) => Effect.Effect<void>
    /** Whether the gateway was given offloads: equal datagrams may then arrive together. */
    readonly gathers: boolean
  }
>()("sallyport/layers/MemoryNetwork") {}

export interface MemoryOptions {
  /** 32 bytes. */
  readonly privateKey: Uint8Array
  readonly mtu?: number
  readonly maxSessions?: number
  /** As of the engine. */
  readonly lookAheadFrom?: number
  /** Batches that the simulated system takes; none unless given. */
  readonly offloads?: Offloads
}

/** Of the simulated socket. */
export const udpPort = 52_625

/** How often the engine looks at its timers. */
const tickMs = 50

export const layer = (options: MemoryOptions): Layer.Layer<DataPlane | MemoryNetwork> =>
  Layer.effectContext(
    Effect.gen(function* () {
      const clock = yield* Clock.Clock
      const hub = makeDataPlaneHub()
      const counters = new Float64Array(countersByteLength / 8)
      const arena = new Arena(new ArrayBuffer(1 << 20))
      let onDatagram: (to: Endpoint, datagram: Uint8Array, trafficClass: number) => void = () => {}
      let onBatch: (to: Endpoint, datagrams: ReadonlyArray<Uint8Array>) => void = () => {}
      let onPacket: (packet: Uint8Array, header: Readonly<VirtioHeader>) => void = () => {}
      const io = makeMemoryPacketIo(arena, {
        batch: (to, datagrams) => onBatch(to, datagrams),
        datagram: (to, datagram, trafficClass) => onDatagram(to, datagram, trafficClass),
        packet: (packet, header) => onPacket(packet, header)
      })
      const engine = new Engine({
        epoch: 1,
        arena,
        io,
        primitives: makeNodePrimitives(arena.bytes),
        privateKey: options.privateKey,
        counters,
        mtu: options.mtu ?? 1280,
        maxSessions: options.maxSessions ?? 65_536,
        sockets: { port: udpPort, ipv4: true, ipv6: true },
        ...(options.lookAheadFrom === undefined ? {} : { lookAheadFrom: options.lookAheadFrom }),
        ...(options.offloads === undefined ? {} : { offloads: options.offloads })
      })
      let turning = false

      const turn = (): void => {
        if (turning) return
        turning = true
        const now = monotonicMillisUnsafe(clock)
        while (engine.turn(now, clock.currentTimeMillisUnsafe()) || !io.isIdle()) {
          // Until nothing waits.
        }
        turning = false
        hub.deliver(engine.takeNotices(), now)
      }

      yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.sleep(tickMs), Effect.sync(turn))))

      const dataPlane = DataPlane.of({
        start: Effect.sync(() => hub.deliver([{ _tag: "Ready", epoch: 1 }], monotonicMillisUnsafe(clock))),
        send: (command) =>
          Effect.sync(() => {
            const now = monotonicMillisUnsafe(clock)
            const wall = clock.currentTimeMillisUnsafe()
            for (const order of hub.decide(command)) engine.execute(order, now, wall)
            turn()
          }),
        settled: hub.settled((order) => {
          engine.execute(order, monotonicMillisUnsafe(clock), clock.currentTimeMillisUnsafe())
          turn()
        }),
        ...hub.service,
        counters: Effect.sync(() => hub.counters(readCounters(counters))),
        remakeDevice: Effect.void,
        epoch: Effect.succeed(1),
        port: udpPort
      })
      const dealWith = (put: () => void) =>
        Effect.sync(() => {
          put()
          turn()
        })
      const network = MemoryNetwork.of({
        arrive: (from, datagram, trafficClass) => dealWith(() => io.arrive(from, datagram, trafficClass)),
        arriveTogether: (from, datagrams) => dealWith(() => io.arriveTogether(from, datagrams)),
        arriveInTurn: (from, reads) =>
          dealWith(() => {
            for (const datagrams of reads) io.arriveTogether(from, datagrams)
          }),
        routeIn: (packet, header) => dealWith(() => io.routeIn(packet, header)),
        routeInTogether: (packets) =>
          dealWith(() => {
            for (const packet of packets) io.routeIn(packet)
          }),
        onBatch: (listener) => Effect.sync(() => void (onBatch = listener)),
        gathers: options.offloads?.batch === true,
        onDatagram: (listener) => Effect.sync(() => void (onDatagram = listener)),
        onPacket: (listener) => Effect.sync(() => void (onPacket = listener))
      })
      return Context.make(DataPlane, dataPlane).pipe(Context.add(MemoryNetwork, network))
    })
  )
