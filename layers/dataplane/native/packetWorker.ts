/**
 * The packet worker: one thread that owns everything that moves with packets. It blocks in `poll`, never runs its
 * event loop, and returns when it reads `Stop`. Anything it throws ends the thread; the supervisor starts another.
 */
import { type MessagePort, receiveMessageOnPort } from "node:worker_threads"
import { orderMoved } from "../../../src/dataplane/betweenClocks.ts"
import { counterIndex, countTurn, systemBase, systemDrops } from "../../../src/dataplane/counters.ts"
import { Engine } from "../../../src/dataplane/engine/engine.ts"
import type { Notice } from "../../../src/dataplane/notices.ts"
import type { Order } from "../../../src/dataplane/orders.ts"
import { makeBootClock, makeBootTime } from "./bootClock.ts"
import { makeNativeChecksum } from "./checksum.ts"
import { libc } from "./ffi.ts"
import { makeMemory, reserveTable } from "./memory.ts"
import { makePacketIo } from "./packetIo.ts"
import { makePrimitives } from "./primitives.ts"
import { makeSchedulingPolicy, thisThread } from "./schedulingPolicy.ts"

/** What main found the system to take, and was not told to leave alone. */
export interface WorkerOffloads {
  /** The TUN device was opened with a virtio header. */
  readonly vnetHeader: boolean
  readonly joinTcp: boolean
  readonly joinUdp: boolean
  /** Sockets gather datagrams. */
  readonly udpReceive: boolean
  readonly udpSegment: boolean
  readonly simd: boolean
}

/** What a worker is made with: enough to load and to wait. It has no key, no descriptor and no state yet. */
export interface WorkerSeat {
  readonly port: MessagePort
  /** Int32: [0] grows when the worker has loaded and with every turn, [1] is set by main when it has sent something. */
  readonly shared: SharedArrayBuffer
}

/** The first message, which sets a loaded worker to work. Descriptors are opened, and later closed, by main. */
export interface WorkerStart {
  readonly epoch: number
  readonly tun: number
  readonly udp4: number
  readonly udp6: number
  readonly event: number
  /** Of both families. */
  readonly udpPort: number
  readonly privateKey: Uint8Array
  readonly mtu: number
  readonly maxSessions: number
  readonly offloads: WorkerOffloads
  /** Be a real-time thread while there is little to do, where the system permits it. */
  readonly realTime: boolean
  readonly counters: SharedArrayBuffer
}

/** Later messages to the worker: a batch of commands. While `more` follow, no packet is touched. */
export interface ToWorker {
  readonly orders: ReadonlyArray<Order>
  readonly more: boolean
  /** When it was sent, by the clock that the times in `orders` are of. */
  readonly at: number
  /** The descriptor of a socket of IPv6 that there was none of before. */
  readonly udp6?: number
}
/** Messages from the worker: a batch of notices, and when they were sent by the worker's clock, as their times are. */
export interface FromWorker {
  readonly notices: ReadonlyArray<Notice>
  readonly at: number
}

export const heartbeat = 0
export const pending = 1

/** Longest block in `poll`, so that the heartbeat shows life and `terminate` finds the thread in JavaScript. */
const longestPollMs = 500

/** The system's drops are counted, and a sleep of the host is found out, this often. */
const lookMs = 250

const realTimeCounter = counterIndex["worker.real_time"]

/** After so long packets have their turn before further orders: a reload has thousands of them. */
const ordersMs = 1

/** While the replay comes in, packets wait in the kernel. */
const replayPollMs = 1

/** Loads, then stands by without a turn of the processor until the first message; then works until `Stop`. */
export const runPacketWorker = (
  { port, shared: sharedMemory }: WorkerSeat,
  onOrder: (order: Order, epoch: number) => void = () => {}
): void => {
  const shared = new Int32Array(sharedMemory)
  const memory = makeMemory(8)
  const { primitives, warning } = makePrimitives(memory)
  Atomics.add(shared, heartbeat, 1)
  const start = firstMessage(port, shared)
  const { epoch, event, offloads, tun, udp4, udp6 } = start
  const { udpSegment, vnetHeader } = offloads
  const io = makePacketIo({ memory, tun, udp4, udp6, event, vnetHeader, udpSegment })
  const counters = new Float64Array(start.counters)
  const engine = new Engine({
    epoch,
    arena: memory.arena,
    io,
    primitives,
    privateKey: start.privateKey,
    counters,
    mtu: start.mtu,
    maxSessions: start.maxSessions,
    reserve: reserveTable,
    sockets: { port: start.udpPort, ipv4: udp4 >= 0, ipv6: udp6 >= 0 },
    offloads: { joinTcp: offloads.joinTcp, joinUdp: offloads.joinUdp, batch: udpSegment },
    ...(offloads.simd ? { checksum: makeNativeChecksum(memory).checksum } : {})
  })
  start.privateKey.fill(0)
  const clock = makeBootClock(() => performance.now(), makeBootTime(memory))
  const post = (notices: ReadonlyArray<Notice>): void => {
    if (notices.length > 0) port.postMessage({ notices, at: clock.now() } satisfies FromWorker)
  }
  post([{ _tag: "Ready", epoch }])
  if (warning !== null) post([{ _tag: "Fault", epoch, message: warning }])

  // The counters outlive this worker, its drops begin at zero.
  const counted = new Float64Array(systemDrops.length)
  const countDrops = (): void => {
    for (let i = 0; i < systemDrops.length; i++) {
      const total = io.drops[systemDrops[i]!]
      counters[systemBase + i]! += total - counted[i]!
      counted[i] = total
    }
  }

  const scheduling = start.realTime ? makeSchedulingPolicy(thisThread(memory), Math.floor(clock.now())) : null
  let replaying = true
  let faulted = false
  let lookAt = 0
  for (;;) {
    Atomics.add(shared, heartbeat, 1)
    // Whole milliseconds: fractions would be boxed on the packet path.
    const began = clock.now()
    const now = Math.floor(began)
    // Not `timeOrigin`, which stays where it was when the system's clock is set.
    const wall = Date.now()
    if (scheduling !== null) counters[realTimeCounter] = scheduling(now) ? 1 : 0
    if (now >= lookAt) {
      lookAt = now + lookMs
      countDrops()
      clock.look()
    }
    if (Atomics.exchange(shared, pending, 0) === 1) {
      for (;;) {
        if (!replaying && clock.now() - began >= ordersMs) {
          Atomics.store(shared, pending, 1)
          break
        }
        const message = receiveMessageOnPort(port)
        if (message === undefined) break
        const batch = message.message as ToWorker
        Atomics.add(shared, heartbeat, 1)
        replaying = batch.more
        if (batch.udp6 !== undefined) {
          io.gainIpv6(batch.udp6)
          engine.gainIpv6()
        }
        for (const order of batch.orders) {
          if (order._tag === "Stop") {
            engine.close()
            return
          }
          onOrder(order, epoch)
          engine.execute(orderMoved(order, now - batch.at), now, wall)
        }
      }
    }
    const busy = !replaying && engine.turn(now, wall, Atomics.load(shared, pending) === 1)
    post(engine.takeNotices())
    const broken = io.fault()
    if (broken !== null && !faulted) {
      faulted = true
      post([{ _tag: "Fault", epoch, message: broken, fatal: true }])
    }
    const ended = clock.now()
    if (!replaying) countTurn(counters, (ended - began) * 1_000)
    if (busy) {
      // Who takes the packets has little room for them, and gets a processor after four milliseconds otherwise.
      libc.sched_yield()
      continue
    }
    const left = Atomics.load(shared, pending) === 1
    const wait = replaying ? replayPollMs : left ? 0 : Math.min(longestPollMs, engine.nextDeadline() - ended)
    io.poll(Math.max(0, Math.ceil(wait)))
    io.drainEvent()
  }
}

/** Blocks the thread; `terminate` ends the wait. */
const firstMessage = (port: MessagePort, shared: Int32Array): WorkerStart => {
  for (;;) {
    Atomics.wait(shared, pending, 0)
    const message = receiveMessageOnPort(port)
    if (message !== undefined) return message.message as WorkerStart
    Atomics.store(shared, pending, 0)
  }
}
