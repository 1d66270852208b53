/**
 * Runs inside a network namespace: a live data plane with one WireGuard client that pings the gateway through the tunnel
 * every 10 ms, while the packet worker is broken: each time when another stands by, or with `ALONE=1` before one does.
 * The making of the worker number `BUG_AT` dies in the supervisor.
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
import type { WorkerStart } from "../../../layers/dataplane/native/packetWorker.ts"
import { DataPlane } from "../../../src/dataplane/DataPlane.ts"
import type { Command } from "../../../src/dataplane/commands.ts"
import {
  addresses,
  clientId,
  gateway4,
  gatewayPrivateKey,
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

const dnsResource = (n: number): Command => ({
  _tag: "SetResource",
  client: clientId(n),
  resource: resourceId("app"),
  kind: "dns",
  network: null,
  filters: [],
  allow: []
})

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

const crowd: ReadonlyArray<Command> = Array.from({ length: clients }, (_, i) => i + 1).flatMap((n) => [
  {
    ...upsertClient(1),
    client: clientId(n),
    ...(n === 1
      ? {}
      : {
          publicKey: Buffer.from(randomBytes(32)).toString("base64"),
          tunnel4: `100.65.${n >> 8}.${n & 255}`,
          tunnel6: `fd00:2021:1111::2:${n.toString(16)}`
        })
  },
  dnsResource(n),
  ...mappings(n)
])

const lines: Array<string> = []
let closingAt = 0

const program = Effect.gen(function* () {
  const dataPlane = yield* DataPlane
  const notices = yield* dataPlane.notices
  const client = new MemoryClient({
    privateKey: new Uint8Array(32).fill(1),
    gatewayKey: primitives.x25519(gatewayPrivateKey).publicKey,
    port: 0
  })
  const socket = createSocket("udp4")
  const flush = (): void => {
    for (const datagram of client.outbox.splice(0)) socket.send(datagram, port, "127.0.0.1")
  }
  let answered = 0
  let longest = 0
  let unreachable = 0
  socket.on("message", (datagram) => {
    client.now = Date.now()
    client.deliver(datagram)
    flush()
    for (const packet of client.received.splice(0)) {
      if (packet[20] === 3) unreachable++
      if (packet[20] !== 0) continue
      const now = performance.now()
      if (answered > 0) longest = Math.max(longest, now - answered)
      answered = now
    }
  })
  let sequence = 0
  const ping = (): void => {
    client.now = Date.now()
    client.seal(buildEcho({ source: tunnel4(1), destination: gateway4, identifier: 1, sequence: sequence++ & 0xffff }))
    flush()
  }

  yield* dataPlane.send(policy)
  yield* dataPlane.send({
    _tag: "SetKeys",
    privateKey: Buffer.from(gatewayPrivateKey).toString("base64"),
    endingKey: null
  })
  for (const command of crowd) yield* dataPlane.send(command)
  ip("link", "set", "lo", "up")
  ip("address", "add", `${gateway4}/11`, "dev", device)
  ip("link", "set", device, "up")
  yield* dataPlane.start

  client.now = Date.now()
  client.wireguard.initiate(client.peer, client.now, client.now)
  flush()
  const timer = setInterval(ping, 10)
  const settled = Effect.sleep("20 millis").pipe(
    Effect.repeat({ while: () => performance.now() - answered > 100 }),
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

  const ready = process.env["ALONE"] === "1" ? Effect.void : standby

  const results: Array<Readonly<Record<string, unknown>>> = []
  for (const how of process.argv.slice(2)) {
    const epoch = yield* dataPlane.epoch
    yield* ready
    longest = 0
    yield* dataPlane.send({ ...policy, ownAddresses: [`${epoch}:${how}`] })
    yield* Effect.sleep("20 millis").pipe(
      Effect.repeat({ until: () => Effect.map(dataPlane.epoch, (now) => now > epoch) }),
      Effect.timeout("10 seconds")
    )
    yield* Effect.sleep("300 millis")
    yield* settled
    // The last mapping of the replay answers for itself.
    yield* Queue.clear(notices)
    const seen = unreachable
    client.now = Date.now()
    client.seal(
      buildTcp({ source: tunnel4(1), destination: "100.96.1.36", sourcePort: 9, destinationPort: 9, flags: 2 })
    )
    flush()
    yield* Effect.sleep("300 millis")
    const told = (yield* Queue.clear(notices)).flatMap((n) => (n._tag === "Traffic" ? [`${n.mapping} ${n.cause}`] : []))
    const counters = yield* dataPlane.counters
    results.push({
      how,
      gap: Math.round(longest),
      epoch: (yield* dataPlane.epoch) - epoch,
      answers: unreachable - seen,
      told,
      restarts: counters["worker.restarts"]
    })
  }
  const after = descriptors()
  yield* ready
  clearInterval(timer)
  socket.close()
  closingAt = performance.now()
  const current = Buffer.from(gatewayPrivateKey)
  const keys = { begunWith: startKeys.map((key) => current.equals(key)), zeroed: forgottenKey.every((byte) => byte === 0) }
  return { results, before, after, keys }
})

/** The gateway has another one before the first worker is at work. */
const forgottenKey = new Uint8Array(32).fill(9)

/** What each worker is set to work with, as it goes through its port. */
const startKeys: Array<Uint8Array> = []
// oxlint-disable-next-line typescript/unbound-method -- it is called for the port that it was called for
const { postMessage } = MessagePort.prototype
MessagePort.prototype.postMessage = function (message: Partial<WorkerStart>, ...transfer) {
  if (message.privateKey !== undefined) startKeys.push(message.privateKey.slice())
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
