/**
 * The live data plane: TUN and UDP descriptors, and a supervised packet worker. A worker that throws, exits or stalls
 * is replaced by one that has been loaded before and stood by; it gets the whole desired state, the descriptors stay.
 */
import { MessageChannel, type MessagePort, Worker } from "node:worker_threads"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { countersByteLength, readCounters } from "../../src/dataplane/counters.ts"
import { DataPlane, InBulk } from "../../src/dataplane/DataPlane.ts"
import { DataPlaneError } from "../../src/dataplane/DataPlaneError.ts"
import type { Order } from "../../src/dataplane/orders.ts"
import { IpFamilies } from "../../src/host/IpFamilies.ts"
import { monotonicMillisUnsafe } from "../../src/loops/monotonic.ts"
import { superviseForever } from "../../src/loops/superviseForever.ts"
import { type DataPlaneHub, makeDataPlaneHub } from "./dataPlaneHub.ts"
import { readOffloads } from "./offloads.ts"
import { readRealTime } from "./realTime.ts"
import { hasNativeChecksum } from "./native/checksum.ts"
import {
  close,
  moveDescriptor,
  NativeError,
  openEventFd,
  openTun,
  openUdp,
  signalEventFd,
  type TunDevice,
  type UdpSocket
} from "./native/fds.ts"
import {
  type FromWorker,
  heartbeat,
  pending,
  type ToWorker,
  type WorkerOffloads,
  type WorkerSeat,
  type WorkerStart
} from "./native/packetWorker.ts"

export interface DataPlaneOptions {
  readonly device: string
  /** UDP port for WireGuard, on every address of both families; 0 takes any free one. */
  readonly port: number
  /** Take any free port when that one is taken, instead of failing. Default false. */
  readonly portFallback?: boolean
  /** What the host's routing rules know the packets of this port by (SO_MARK). */
  readonly mark?: number | null
  /** A socket of the tunnel's own address will have the same port (the DNS service's): nobody else gets the port. */
  readonly sharesPort?: boolean
  /** 32 bytes. Copied to each worker, until `SetKeys` gives another one: this one is zeroed then. */
  readonly privateKey: Uint8Array
  readonly mtu: number
  readonly maxSessions: number
  /** Another worker entry, for tests of the supervision. */
  readonly workerUrl?: URL
}

/** A worker that has not made its first turn after this long never will. */
const startMs = 10_000
/** A worker is stalled when its heartbeat stands still for this long. */
const stalledMs = 2_000
const watchMs = 250
/** Orders per message of those in bulk: between two of them packets may have their turn. */
const mostAtOnce = 32
/** Orders per message of a replay; main's other work runs in between. */
const replayChunk = 500
/**
 * The next worker is loaded this long after the one at work was ready: start, replay and, after a start of the gateway,
 * its clients' return have the processors first.
 */
const standbyAfterMs = { start: 10_000, restart: 3_000 } as const
/** A worker that ended while it stood by is replaced after this long. */
const standbyAgainMs = 60_000
/** A worker that is told to stop gets this long before it is terminated. */
const stopMs = 1_000
/** A socket of IPv6 that could not be had is tried again. */
const ipv6Every = "5 seconds"

export const layer = (options: DataPlaneOptions): Layer.Layer<DataPlane, DataPlaneError, IpFamilies> =>
  Layer.effect(
    DataPlane,
    Effect.gen(function* () {
      const descriptors = yield* openDescriptors(options)
      const hub = makeDataPlaneHub()
      const clock = yield* Clock.Clock
      const now = () => monotonicMillisUnsafe(clock)
      const supervisor = makeSupervisor(options, descriptors, yield* readRealTime, hub, now)
      yield* supervisor.prepare
      if (descriptors.udp6 < 0) {
        const tried = Effect.andThen(Effect.sleep(ipv6Every), openLateIpv6(options, descriptors))
        const gained = Effect.repeat(tried, { until: (fd) => fd >= 0 })
        yield* Effect.forkScoped(Effect.map(gained, supervisor.gainIpv6))
      }
      const scope = yield* Effect.scope
      let started = false
      return DataPlane.of({
        start: Effect.suspend(() => {
          if (started) return Effect.void
          started = true
          return Effect.andThen(Effect.forkIn(supervisor.run, scope, { startImmediately: true }), supervisor.firstReady)
        }),
        send: (command) =>
          Effect.map(InBulk, (inBulk) => {
            for (const order of hub.decide(command)) {
              if (order._tag === "SetKeys") supervisor.takeKey(order.privateKey)
              supervisor.post(order, inBulk)
            }
          }),
        settled: hub.settled(supervisor.post),
        ...hub.service,
        counters: Effect.sync(() => ({
          ...hub.counters(readCounters(supervisor.counters)),
          ...offloadGauges(descriptors.offloads),
          "worker.ready": Number(supervisor.isReady()),
          "worker.standby": Number(supervisor.standsBy()),
          "worker.restarts": Math.max(0, supervisor.epoch() - 1),
          "worker.uptime_ms": Math.round(now() - supervisor.startedAt())
        })),
        remakeDevice: Effect.suspend(() => {
          const failed = remakeDevice(options.device, descriptors)
          return failed === undefined ? Effect.void : new DataPlaneError({ message: failed })
        }),
        epoch: Effect.sync(() => supervisor.epoch()),
        port: descriptors.udpPort
      })
    })
  )

interface Descriptors {
  readonly offloads: WorkerOffloads
  /** What the kernel agreed to for the device. */
  readonly tunOffloads: TunDevice["offloads"]
  readonly tun: number
  readonly udp4: number
  /** −1: none yet. */
  udp6: number
  readonly event: number
  readonly udpPort: number
}

/** What is in use: 1, or 0 where it was switched off or the system does not have it. */
const offloadGauges = (offloads: WorkerOffloads): Readonly<Record<string, number>> => ({
  "offloads.udp_send": Number(offloads.udpSegment),
  "offloads.udp_receive": Number(offloads.udpReceive),
  "offloads.tun_read": Number(offloads.vnetHeader),
  "offloads.tun_write_tcp": Number(offloads.joinTcp),
  "offloads.tun_write_udp": Number(offloads.joinUdp),
  "offloads.simd": Number(offloads.simd)
})

const openDescriptors = Effect.fnUntraced(function* (
  options: DataPlaneOptions
): Effect.fn.Return<Descriptors, DataPlaneError, IpFamilies | Scope.Scope> {
  const switches = yield* readOffloads
  const tun = yield* descriptor(() => openTun(options.device, { vnetHeader: switches.tso }))
  const { udp4, udp6: opened6 } = yield* bothFamilies(options, switches.gro)
  if (options.port !== 0 && udp4.port !== options.port) {
    yield* Effect.logInfo(`UDP port ${options.port} is taken: using ${udp4.port}`)
  }
  yield* (yield* IpFamilies).found("sockets", opened6 instanceof NativeError ? withoutIpv6(opened6) : null)
  const udp6 = opened6 instanceof NativeError ? { ...udp4, fd: -1 } : opened6
  if (udp4.warning !== null) yield* Effect.logWarning(udp4.warning)
  const event = yield* descriptor(() => {
    const fd = openEventFd()
    return typeof fd === "number" ? { fd } : fd
  })
  const offloads: WorkerOffloads = {
    vnetHeader: switches.tso,
    joinTcp: switches.join && tun.offloads.tcp,
    joinUdp: switches.join && tun.offloads.udp,
    udpReceive: udp4.gro && udp6.gro,
    udpSegment: switches.gso && udp4.gso && udp6.gso,
    simd: switches.simd && hasNativeChecksum()
  }
  const descriptors: Descriptors = {
    offloads,
    tunOffloads: tun.offloads,
    tun: tun.fd,
    udp4: udp4.fd,
    udp6: udp6.fd,
    event: event.fd,
    udpPort: udp4.port
  }
  if (udp6.fd < 0) {
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        if (descriptors.udp6 >= 0) close(descriptors.udp6)
      })
    )
  }
  return descriptors
})

const withoutIpv6 = ({ message }: NativeError): string => `clients cannot come by IPv6: ${message}`

/** Whoever had the port may have left, or the kernel has loaded IPv6: −1 until then. */
const openLateIpv6 = Effect.fnUntraced(function* (options: DataPlaneOptions, descriptors: Descriptors) {
  const families = yield* IpFamilies
  const gro = descriptors.offloads.udpReceive
  const opened = openUdp({ family: 6, port: descriptors.udpPort, gro, ...socketOptions(options) })
  const missing = opened instanceof NativeError
  if (!missing) descriptors.udp6 = opened.fd
  yield* families.found("sockets", missing ? withoutIpv6(opened) : null)
  return descriptors.udp6
})

const socketOptions = ({ mark, sharesPort }: DataPlaneOptions) => ({ shared: sharesPort ?? false, mark: mark ?? null })

/** Why it could not be done. The worker keeps the number of the descriptor, and what it was told of the offloads. */
const remakeDevice = (name: string, { offloads, tun, tunOffloads }: Descriptors): string | undefined => {
  const opened = openTun(name, { vnetHeader: offloads.vnetHeader })
  if (opened instanceof NativeError) return opened.message
  if (opened.name !== name || opened.offloads.tcp !== tunOffloads.tcp || opened.offloads.udp !== tunOffloads.udp) {
    close(opened.fd)
    return `the device ${opened.name} has other offloads than before: restart the gateway`
  }
  return moveDescriptor(opened.fd, tun)?.message
}

/** UDP at the same port for both families, closed with the scope; IPv6 may be missing. */
const bothFamilies = (options: DataPlaneOptions, gro: boolean) =>
  Effect.acquireRelease(
    Effect.suspend(() => {
      const open = (port: number) => {
        const more = { gro, ...socketOptions(options) }
        const udp4 = openUdp({ family: 4, port, ...more })
        return { udp4, udp6: udp4 instanceof NativeError ? udp4 : openUdp({ family: 6, port: udp4.port, ...more }) }
      }
      const isTaken = (socket: UdpSocket | NativeError) =>
        socket instanceof NativeError && socket.errno === "EADDRINUSE"
      let { udp4, udp6 } = open(options.port)
      if (options.portFallback === true && (isTaken(udp4) || isTaken(udp6))) {
        if (!(udp4 instanceof NativeError)) close(udp4.fd)
        ;({ udp4, udp6 } = open(0))
      }
      return udp4 instanceof NativeError
        ? Effect.fail(new DataPlaneError({ message: udp4.message }))
        : Effect.succeed({ udp4, udp6 })
    }),
    ({ udp4, udp6 }) =>
      Effect.sync(() => {
        close(udp4.fd)
        if (!(udp6 instanceof NativeError)) close(udp6.fd)
      })
  )

const descriptor = <A extends { readonly fd: number }>(
  open: () => A | NativeError
): Effect.Effect<A, DataPlaneError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.suspend(() => {
      const opened = open()
      return opened instanceof NativeError
        ? Effect.fail(new DataPlaneError({ message: opened.message }))
        : Effect.succeed(opened)
    }),
    ({ fd }) => Effect.sync(() => close(fd))
  )

interface PacketWorker {
  /** 0 while it stands by. */
  epoch: number
  readonly worker: Worker
  readonly port: MessagePort
  readonly shared: Int32Array
  /** The worker has its descriptors and waits for the replay. */
  readonly ready: Deferred.Deferred<void>
  readonly ended: Deferred.Deferred<string>
  /** It reads no messages: no use in asking it to stop. */
  stalled: boolean
}

const makeSupervisor = (
  options: DataPlaneOptions,
  descriptors: Descriptors,
  realTime: boolean,
  hub: DataPlaneHub,
  /** Monotonic milliseconds. */
  now: () => number
) => {
  const counterMemory = new SharedArrayBuffer(countersByteLength)
  const counters = new Float64Array(counterMemory)
  let epoch = 0
  let startedAt = 0
  let current: PacketWorker | undefined
  /** The next worker: the first one, which loads while the host is being set up, or one for when the current dies. */
  let standby: PacketWorker | undefined
  const firstReady = Deferred.makeUnsafe<void>()
  /** Orders of a replay that goes on; later ones queue behind it, so that order holds. */
  let backlog: Array<Order> | undefined

  const transmit = (to: PacketWorker, message: ToWorker): void => {
    to.port.postMessage(message)
    // A worker that has not yet seen the last signal will find this message too.
    if (Atomics.exchange(to.shared, pending, 1) === 0) signalEventFd(descriptors.event)
  }

  /** Orders in bulk of this turn of main, to be one message. */
  let outbox: Array<Order> = []
  const flush = (): void => {
    const orders = outbox
    outbox = []
    if (current !== undefined && orders.length > 0) transmit(current, { orders, more: false, at: now() })
  }

  /** Not in bulk: before anything that main sends next, since the worker may be quicker to forward that than main to go on. */
  const post = (order: Order, inBulk = false): void => {
    if (backlog !== undefined) return void backlog.push(order)
    if (current === undefined) return
    const count = outbox.push(order)
    if (!inBulk || count === mostAtOnce) flush()
    else if (count === 1) queueMicrotask(flush)
  }

  let { privateKey } = options
  /** Later workers start with it (base64), and the one before is nowhere any more. */
  const takeKey = (text: string): void => {
    privateKey.fill(0)
    privateKey = new Uint8Array(Buffer.from(text, "base64"))
  }

  /** Later workers get it among their descriptors. */
  const gainIpv6 = (udp6: number): void => {
    if (current !== undefined) transmit(current, { orders: [], more: backlog !== undefined, at: now(), udp6 })
  }

  const replay = Effect.fnUntraced(function* (to: PacketWorker) {
    // What was sent since the worker's start is part of the desired state.
    backlog = hub.desired.replay(now())
    do {
      const chunk: Array<Order> = backlog.splice(0, replayChunk)
      transmit(to, { orders: chunk, more: backlog.length > 0, at: now() })
      yield* Effect.yieldNow
    } while (backlog.length > 0)
    backlog = undefined
  })

  /** A worker that loads and then stands by. */
  const create = Effect.sync((): PacketWorker => {
    const channel = new MessageChannel()
    const sharedMemory = new SharedArrayBuffer(8)
    const ready = Deferred.makeUnsafe<void>()
    const ended = Deferred.makeUnsafe<string>()
    const seat: WorkerSeat = { port: channel.port2, shared: sharedMemory }
    const worker = new Worker(options.workerUrl ?? defaultWorkerUrl, {
      workerData: seat,
      resourceLimits: { maxYoungGenerationSizeMb: youngMb },
      transferList: [channel.port2]
    })
    const shared = new Int32Array(sharedMemory)
    const made: PacketWorker = { epoch: 0, worker, port: channel.port1, shared, ready, ended, stalled: false }
    worker.on("error", (error: unknown) => {
      Deferred.doneUnsafe(ended, Effect.succeed(`threw: ${error instanceof Error ? error.message : String(error)}`))
    })
    worker.once("exit", (code) => void Deferred.doneUnsafe(ended, Effect.succeed(`exited with code ${code}`)))
    channel.port1.on("message", ({ at, notices }: FromWorker) => {
      if (notices[0]?._tag === "Ready") Deferred.doneUnsafe(ready, Effect.void)
      if (made === current) hub.deliver(notices, now(), at)
    })
    channel.port1.unref()
    return made
  })

  const loadStandby = Effect.uninterruptible(
    Effect.map(create, (made) => {
      standby = made
    })
  )

  /** The first worker begins to load; who stands by at the end goes. */
  const prepare = Effect.acquireRelease(loadStandby, () =>
    Effect.promise(async () => {
      await standby?.worker.terminate()
      standby?.port.close()
    })
  )

  const standBy = Effect.gen(function* () {
    if (standby === undefined) yield* loadStandby
    const reason = yield* Deferred.await(standby!.ended)
    standby!.port.close()
    standby = undefined
    yield* Effect.logWarning(`a packet worker on standby ${reason}; another follows`)
    yield* Effect.sleep(standbyAgainMs)
  })

  /** Sees to it that a worker stands by for the one at work. */
  const keepStandby = (running: PacketWorker) =>
    Effect.gen(function* () {
      yield* Deferred.await(running.ready)
      yield* Effect.sleep(running.epoch === 1 ? standbyAfterMs.start : standbyAfterMs.restart)
      return yield* superviseForever("DataPlane.standby", standBy)
    })

  /** Sets the one that stands by to work, or a new one. */
  const spawn = Effect.gen(function* () {
    const fit = standby !== undefined && !Deferred.isDoneUnsafe(standby.ended)
    const running = fit ? standby! : yield* create
    standby = undefined
    running.epoch = ++epoch
    startedAt = now()
    backlog = []
    outbox = []
    current = running
    const start: WorkerStart = {
      epoch,
      ...descriptors,
      privateKey: privateKey.slice(),
      mtu: options.mtu,
      maxSessions: options.maxSessions,
      realTime,
      counters: counterMemory
    }
    running.port.postMessage(start, [start.privateKey.buffer as ArrayBuffer])
    Atomics.store(running.shared, pending, 1)
    Atomics.notify(running.shared, pending)
    return running
  })

  const stop = (running: PacketWorker): Effect.Effect<void> =>
    Effect.gen(function* () {
      flush()
      current = undefined
      backlog = undefined
      const terminate = Effect.promise(() => running.worker.terminate())
      if (running.stalled) {
        yield* terminate
      } else {
        transmit(running, { orders: [{ _tag: "Stop" }], more: false, at: now() })
        yield* Effect.asVoid(Deferred.await(running.ended)).pipe(
          Effect.timeoutOrElse({ duration: stopMs, orElse: () => Effect.asVoid(terminate) })
        )
      }
      running.port.close()
    })

  const watch = (running: PacketWorker) =>
    Effect.gen(function* () {
      let last = -1
      let changedAt = now()
      for (;;) {
        yield* Effect.sleep(watchMs)
        const beat = Atomics.load(running.shared, heartbeat)
        const still = now() - changedAt
        if (beat !== last) {
          last = beat
          changedAt = now()
        } else if (still >= (beat === 0 ? startMs : stalledMs)) {
          running.stalled = true
          return `stalled: no turn for ${Math.round(still)} ms`
        }
      }
    })

  const incarnation = Effect.acquireUseRelease(
    spawn,
    (running) =>
      Effect.gen(function* () {
        const replaying = yield* Effect.forkChild(replay(running))
        yield* Effect.forkChild(Effect.andThen(Deferred.await(running.ready), Deferred.succeed(firstReady, undefined)))
        const reason = yield* Effect.raceAllFirst([
          Deferred.await(running.ended),
          watch(running),
          keepStandby(running),
          // Without its replay a worker would serve nobody, and nobody would know.
          Effect.andThen(Fiber.join(replaying), Effect.never)
        ])
        yield* Fiber.interrupt(replaying)
        yield* Effect.logError(`packet worker ${running.epoch} ${reason}; starting another`)
      }),
    stop
  )

  /** At once after a single failure; one start per second when workers die young. */
  const life = Effect.gen(function* () {
    const before = now()
    yield* incarnation
    const lived = now() - before
    if (lived < youngMs && epoch > 1) yield* Effect.sleep(youngMs)
  })

  return {
    prepare,
    run: superviseForever("DataPlane.worker", life),
    /** Waits until the first worker that loads has done so; a gateway without any has said why by then. */
    firstReady: Deferred.await(firstReady).pipe(Effect.timeoutOption(loadMs), Effect.asVoid),
    post,
    takeKey,
    gainIpv6,
    counters,
    epoch: () => epoch,
    startedAt: () => startedAt,
    /** Whether a worker is at work and knows the whole desired state. */
    isReady: () =>
      current !== undefined && !current.stalled && backlog === undefined && Deferred.isDoneUnsafe(current.ready),
    /** Whether the next worker has loaded. */
    standsBy: () => standby !== undefined && Atomics.load(standby.shared, heartbeat) > 0
  }
}

const youngMs = 500

/** Young objects of a worker, in MiB: small, so that each collection holds packets up for less than a millisecond. */
const youngMb = 6
/** `start` does not wait longer than this for a worker that loads. */
const loadMs = 10_000

/** `tsc` does not rewrite URLs: take the extension this file itself has. */
const defaultWorkerUrl = new URL(
  `./native/packetWorkerMain.${import.meta.url.endsWith(".ts") ? "ts" : "js"}`,
  import.meta.url
)
