/**
 * Runs inside a network namespace: a live data plane whose key is being replaced, with two WireGuard clients that ping the
 * gateway through the tunnel every 10 ms, one by each of its keys, while the packet worker is broken: each time when another
 * stands by, or with `ALONE=1` before one does; or while it is slow (`slow`), and hundreds of orders come at once. The
 * making of the worker number `BUG_AT` dies in the supervisor.
 * Prints one JSON value.
 */
import { execFileSync } from "node:child_process"
import { randomBytes } from "node:crypto"
import { createSocket } from "node:dgram"
import { readdirSync, readlinkSync } from "node:fs"
import { MessagePort } from "node:worker_threads"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Queue from "effect/Queue"
import * as DataPlaneLive from "../../../layers/dataplane/DataPlane.ts"
import * as IpFamiliesLive from "../../../layers/host/IpFamilies.ts"
import type { ToWorker, WorkerStart } from "../../../layers/dataplane/native/packetWorker.ts"
import { DataPlane, InBulk } from "../../../src/dataplane/DataPlane.ts"
import type { Command, SetResource } from "../../../src/dataplane/commands.ts"
import type { Notice } from "../../../src/dataplane/notices.ts"
import {
  addresses,
  clientId,
  gateway4,
  gatewayPrivateKey,
  key,
  mappingId,
  policy,
  primitives,
  resourceId,
  tunnel4,
  upsertClient
} from "../../support/engineWorld.ts"
import { MemoryClient } from "../../support/memoryClient.ts"
import { buildEcho, buildTcp } from "../../support/packets.ts"

const device = "spsuper0"
const port = 51_820
const clients = 1_000
const mappingsPerClient = 10
/** Of five milliseconds each. */
const slowOrders = 400

const ip = (...args: ReadonlyArray<string>): string => execFileSync("ip", args, { encoding: "utf8", timeout: 10_000 })

/** What the descriptors of the device, the sockets and the like point to. */
const descriptors = (): ReadonlyArray<string> =>
  readdirSync("/proc/self/fd")
    .flatMap((fd) => {
      try {
        const target = readlinkSync(`/proc/self/fd/${fd}`)
        return target === "/dev/net/tun" || target.startsWith("socket:") ? [`${fd} ${target}`] : []
      } catch {
        return []
      }
    })
    .toSorted()

const dnsResource = (n: number): SetResource => ({
  _tag: "SetResource",
  client: clientId(n),
  resource: resourceId("app"),
  kind: "dns",
  network: null,
  filters: [],
  allow: []
})

/** Another one than `dnsResource`, so that the worker is to do something. */
const pingOnly = (n: number): SetResource => ({ ...dnsResource(n), filters: [{ protocol: "icmp" }] })

const mappings = (n: number): ReadonlyArray<Command> =>
  Array.from({ length: mappingsPerClient }, (_, i) => i).flatMap((i): ReadonlyArray<Command> => {
    const domain = `n${i}.corp`
    return [
      {
        _tag: "SetMapping",
        mapping: mappingId(n, domain),
        client: clientId(n),
        resources: [resourceId("app")],
        proxyIps: Array.from({ length: 4 }, (_, p) => [
          `100.96.1.${i * 4 + p}`,
          `fd00:2021:1111:8000::${(0x100 + i * 4 + p).toString(16)}`
        ]).flat(),
        generation: 1
      },
      addresses(n, 1, "Unresolved", [], domain)
    ]
  })

const lateProxy = "100.96.9.9"
const lateName: ReadonlyArray<Command> = [
  {
    _tag: "SetMapping",
    mapping: mappingId(1, "late.corp"),
    client: clientId(1),
    resources: [resourceId("app")],
    proxyIps: [lateProxy],
    generation: 1
  },
  addresses(1, 1, "Unresolved", [], "late.corp")
]

const namesTold = (notices: ReadonlyArray<Notice>): ReadonlyArray<string> =>
  notices.flatMap((n) => (n._tag === "Traffic" ? [`${n.mapping} ${n.cause}`] : []))

const crowd: ReadonlyArray<Command> = Array.from({ length: clients }, (_, i) => i + 1).flatMap((n) => [
  n <= 2
    ? upsertClient(n)
    : {
        ...upsertClient(1),
        client: clientId(n),
        publicKey: Buffer.from(randomBytes(32)).toString("base64"),
        tunnel4: `100.65.${n >> 8}.${n & 255}`,
        tunnel6: `fd00:2021:1111::2:${n.toString(16)}`
      },
  dnsResource(n),
  ...mappings(n)
])

const lines: Array<string> = []
let closingAt = 0

/** Clients are given it; the other one is `gatewayPrivateKey`. */
const currentKey = key(0x42)
const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64")
const publicKeyOf = (privateKey: Uint8Array): Uint8Array => primitives.x25519(privateKey).publicKey

/** Client `n` at its UDP socket, which knows the gateway by this key. */
const makeEnd = (n: number, gatewayKey: Uint8Array) => {
  const client = new MemoryClient({ privateKey: key(n), gatewayKey: publicKeyOf(gatewayKey), port: 0 })
  const socket = createSocket("udp4")
  /** When the last ping was answered, and the longest time between two answers; packets that were not forwarded. */
  const seen = { answered: 0, longest: 0, unreachable: 0 }
  const flush = (): void => {
    for (const datagram of client.outbox.splice(0)) socket.send(datagram, port, "127.0.0.1")
  }
  socket.on("message", (datagram) => {
    client.now = Date.now()
    client.deliver(datagram)
    flush()
    for (const packet of client.received.splice(0)) {
      if (packet[20] === 3) seen.unreachable++
      if (packet[20] !== 0) continue
      const now = performance.now()
      if (seen.answered > 0) seen.longest = Math.max(seen.longest, now - seen.answered)
      seen.answered = now
    }
  })
  const seal = (packet: Uint8Array): void => {
    client.now = Date.now()
    client.seal(packet)
    flush()
  }
  let sequence = 0
  return {
    socket,
    seen,
    seal,
    ping: (): void =>
      seal(buildEcho({ source: tunnel4(n), destination: gateway4, identifier: 1, sequence: sequence++ & 0xffff })),
    connect: (): void => {
      client.now = Date.now()
      client.wireguard.initiate(client.peer, client.now, client.now)
      flush()
    }
  }
}

const program = Effect.gen(function* () {
  const dataPlane = yield* DataPlane
  const notices = yield* dataPlane.notices
  const first = makeEnd(1, gatewayPrivateKey)
  const ends = [first, makeEnd(2, currentKey)]

  yield* dataPlane.send(policy)
  yield* dataPlane.send({
    _tag: "SetKeys",
    privateKey: base64(currentKey),
    endingKey: base64(gatewayPrivateKey)
  })
  for (const command of crowd) yield* dataPlane.send(command)
  ip("link", "set", "lo", "up")
  ip("address", "add", `${gateway4}/11`, "dev", device)
  ip("link", "set", device, "up")
  yield* dataPlane.start

  for (const { connect } of ends) connect()
  const timer = setInterval(() => {
    for (const { ping } of ends) ping()
  }, 10)
  const settled = Effect.sleep("20 millis").pipe(
    Effect.repeat({ while: () => ends.some(({ seen }) => performance.now() - seen.answered > 100) }),
    Effect.timeout("10 seconds")
  )
  yield* settled
  const before = descriptors()
  /** Another worker has loaded, or has died of it. */
  const standby = Effect.sleep("50 millis").pipe(
    Effect.repeat({
      until: () =>
        Effect.map(
          dataPlane.counters,
          (counters) => counters["worker.standby"] === 1 || lines.some((line) => line.includes("on standby"))
        )
    }),
    Effect.timeout("20 seconds")
  )

  let bystander = ends.length + slowOrders + 1
  /** How many orders have gone to the worker when `send` has ended; main has done nothing else. */
  const sentAtOnce = Effect.fnUntraced(function* (inBulk: ReadonlyArray<boolean>) {
    const before = orders.sent
    for (const each of inBulk) {
      yield* Effect.provideService(dataPlane.send(pingOnly(bystander++)), InBulk, each)
    }
    return orders.sent - before
  })
  const atOnce = {
    alone: yield* sentAtOnce([false]),
    several: yield* sentAtOnce([false, false, false]),
    behindBulk: yield* sentAtOnce([true, true, false])
  }

  const ready = process.env["ALONE"] === "1" ? Effect.void : standby

  const results: Array<Readonly<Record<string, unknown>>> = []
  for (const how of process.argv.slice(2)) {
    const epoch = yield* dataPlane.epoch
    yield* ready
    for (const { seen } of ends) seen.longest = 0
    yield* dataPlane.send({ ...policy, ownAddresses: [`${epoch}:${how}`] })
    if (how === "slow") {
      const since = performance.now()
      const before = orders.messages
      for (let n = ends.length + 1; n <= ends.length + slowOrders; n++) {
        yield* Effect.provideService(dataPlane.send(pingOnly(n)), InBulk, true)
      }
      const messages = orders.messages - before
      // A name that is asked for meanwhile: its client has the answer before the worker has the mapping.
      yield* Queue.clear(notices)
      const { answered, unreachable } = first.seen
      for (const command of lateName) yield* dataPlane.send(command)
      first.seal(buildTcp({ source: tunnel4(1), destination: lateProxy, sourcePort: 9, destinationPort: 9, flags: 2 }))
      yield* Effect.repeat(Effect.sleep("10 millis"), {
        until: () => Effect.sync(() => first.seen.answered > answered + 100)
      })
      const early = first.seen.unreachable - unreachable
      yield* dataPlane.settled
      const took = Math.round(performance.now() - since)
      yield* Effect.sleep("300 millis")
      const gap = Math.round(Math.max(...ends.map(({ seen }) => seen.longest)))
      const told = namesTold(yield* Queue.clear(notices))
      results.push({ how, took, messages, gap, early, answers: first.seen.unreachable - unreachable, told })
      continue
    }
    yield* Effect.sleep("20 millis").pipe(
      Effect.repeat({ until: () => Effect.map(dataPlane.epoch, (now) => now > epoch) }),
      Effect.timeout("10 seconds")
    )
    yield* Effect.sleep("300 millis")
    yield* settled
    // The last mapping of the replay answers for itself.
    yield* Queue.clear(notices)
    const { unreachable } = first.seen
    first.seal(
      buildTcp({ source: tunnel4(1), destination: "100.96.1.36", sourcePort: 9, destinationPort: 9, flags: 2 })
    )
    yield* Effect.sleep("300 millis")
    const told = namesTold(yield* Queue.clear(notices))
    const counters = yield* dataPlane.counters
    results.push({
      how,
      gap: Math.round(Math.max(...ends.map(({ seen }) => seen.longest))),
      epoch: (yield* dataPlane.epoch) - epoch,
      answers: first.seen.unreachable - unreachable,
      told,
      restarts: counters["worker.restarts"]
    })
  }
  const after = descriptors()
  yield* ready
  clearInterval(timer)
  for (const { socket } of ends) socket.close()
  closingAt = performance.now()
  const known = dataPlane.desired.gatewayKeys()
  const keys = {
    begunWith: startKeys.map((bytes) => base64(bytes) === base64(currentKey)),
    zeroed: forgottenKey.every((byte) => byte === 0),
    proved: [gatewayPrivateKey, currentKey].map((of, i) => known.get(clientId(i + 1)) === base64(publicKeyOf(of)))
  }
  return { results, before, after, keys, atOnce }
})

/** The gateway has another one before the first worker is at work. */
const forgottenKey = new Uint8Array(32).fill(9)

/** What each worker is set to work with, as it goes through its port. */
const startKeys: Array<Uint8Array> = []
/** Orders that went through it, and the messages that they went in. */
const orders = { sent: 0, messages: 0 }
// oxlint-disable-next-line typescript/unbound-method -- it is called for the port that it was called for
const { postMessage } = MessagePort.prototype
MessagePort.prototype.postMessage = function (message: Partial<WorkerStart & ToWorker>, ...transfer) {
  if (message.privateKey !== undefined) startKeys.push(message.privateKey.slice())
  if (message.orders !== undefined) {
    orders.sent += message.orders.length
    orders.messages++
  }
  Reflect.apply(postMessage, this, [message, ...transfer])
}

let made = 0
const workerUrl = (): URL => {
  if (`${++made}` === process.env["BUG_AT"]) throw new Error("a bug")
  return new URL("hookedWorker.ts", import.meta.url)
}

const result = await Effect.runPromise(
  program.pipe(
    Effect.scoped,
    Effect.provide(
      DataPlaneLive.layer({
        device,
        port,
        privateKey: forgottenKey,
        mtu: 1_280,
        maxSessions: 65_536,
        get workerUrl() {
          return workerUrl()
        }
      }).pipe(
        Layer.provide(IpFamiliesLive.layer),
        Layer.provideMerge(Logger.layer([Logger.map(Logger.formatLogFmt, (line) => void lines.push(line))]))
      )
    )
  )
)
process.stdout.write(JSON.stringify({ ...result, lines, closing: Math.round(performance.now() - closingAt) }))
