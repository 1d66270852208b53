/**
 * Our WireGuard against wireguard-go, which runs in a network namespace of its own, joined to this process by one wire.
 * Our side is a UDP socket, the state machine and a make-believe inner host that answers and sends ICMP echo.
 */
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Schedule, type Scope } from "effect"
import { spawn } from "node:child_process"
import { randomBytes } from "node:crypto"
import { createSocket, type Socket } from "node:dgram"
import { attemptCommand, runCommand } from "../../layers/lab/command.ts"
import { makeNodePrimitives, x25519Public } from "../../layers/dataplane/nodePrimitives.ts"
import { formatAddress, parseAddress } from "../../src/packet/address.ts"
import { Arena } from "../../src/packet/arena.ts"
import { makeEndpoint } from "../../src/packet/endpoint.ts"
import { LabError } from "../../src/lab/demo/Lab.ts"
import type { HandshakeLimits } from "../../src/wireguard/handshakeLimits.ts"
import { receiveCodes } from "../../src/wireguard/receiveCode.ts"
import { type Peer, type PeerEvent, WireGuard } from "../../src/wireguard/WireGuard.ts"

const inner = { ours: "10.77.0.1", theirs: "10.77.0.2" }
const psk = randomBytes(32)
const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64")

let serial = 0

/** A namespace with a wire to it and wireguard-go inside, its device made but not configured. */
const startForeign = Effect.gen(function* () {
  const id = `${process.pid}x${++serial}`
  const namespace = `wgi${id}`
  const wire = `wv${id}`
  const device = `wg${id}`
  const net = `198.18.${(process.pid >> 6) & 255}.`
  const base = (process.pid & 63) * 4
  const here = `${net}${base + 1}`
  const there = `${net}${base + 2}`
  const inside = (command: ReadonlyArray<string>, input?: string) =>
    runCommand(["ip", "netns", "exec", namespace, ...command], input === undefined ? {} : { input })

  yield* Effect.acquireRelease(runCommand(["ip", "netns", "add", namespace]), () =>
    Effect.ignore(runCommand(["ip", "netns", "delete", namespace]))
  )
  yield* Effect.acquireRelease(
    runCommand(["ip", "link", "add", wire, "type", "veth", "peer", "name", "wire", "netns", namespace]),
    // Usually gone with the namespace already.
    () => Effect.ignore(runCommand(["ip", "link", "delete", wire]))
  )
  yield* runCommand(["ip", "address", "add", `${here}/30`, "dev", wire])
  yield* runCommand(["ip", "link", "set", wire, "up"])
  yield* inside(["ip", "-batch", "-"], `address add ${there}/30 dev wire\nlink set wire up\nlink set lo up\n`)
  yield* Effect.acquireRelease(
    Effect.sync(() =>
      spawn("ip", ["netns", "exec", namespace, "wireguard-go", "-f", device], {
        stdio: "ignore",
        env: { ...process.env, WG_PROCESS_FOREGROUND: "1", LOG_LEVEL: "error" }
      })
    ),
    (child) =>
      Effect.callback<void>((resume) => {
        if (child.exitCode !== null || child.signalCode !== null) return resume(Effect.void)
        child.once("exit", () => resume(Effect.void))
        child.kill("SIGTERM")
      }).pipe(Effect.timeoutOrElse({ duration: "5 seconds", orElse: () => Effect.sync(() => child.kill("SIGKILL")) }))
  )
  yield* inside(["wg", "show", device]).pipe(Effect.retry({ schedule: Schedule.spaced("20 millis"), times: 250 }))
  const privateKey = randomBytes(32)
  return { namespace, device, here, there, inside, privateKey }
})

interface OursOptions {
  readonly address: string
  readonly limits?: Partial<HandshakeLimits>
}

/** Our end. `skip` moves its clock; `hop` makes it send from another port. */
class Ours {
  readonly arena = new Arena(new ArrayBuffer(1 << 16))
  readonly wg: WireGuard
  readonly events: Array<PeerEvent> = []
  readonly codes: Array<string> = []
  readonly privateKey = randomBytes(32)
  readonly types: Array<number> = []
  /** Sees every handshake message and keepalive that is sent. */
  tap: (bytes: Uint8Array) => void = () => {}
  replies = 0
  private readonly inbound = this.arena.reserve(2048)
  private readonly echo = this.arena.reserve(2048)
  private readonly outbound = this.arena.reserve(2048)
  private readonly from = makeEndpoint()
  private offset = 0
  private socket: Socket

  constructor(socket: Socket, limits: Partial<HandshakeLimits>) {
    this.socket = socket
    this.wg = new WireGuard({
      primitives: makeNodePrimitives(this.arena.bytes),
      privateKey: this.privateKey,
      arena: this.arena,
      limits,
      event: (_peer, event) => this.events.push(event),
      send: (to, offset, length) => {
        const bytes = this.arena.bytes.slice(offset, offset + length)
        this.tap(bytes)
        this.socket.send(bytes, to.port, formatAddress(to.remote))
      }
    })
    this.listen(socket)
  }

  get port() {
    return this.socket.address().port
  }

  now() {
    return performance.now() + this.offset
  }

  wall() {
    return performance.timeOrigin + this.now()
  }

  skip(ms: number) {
    this.offset += ms
  }

  hop(socket: Socket) {
    this.socket = socket
    this.listen(socket)
  }

  turn() {
    while (this.wg.workHandshakes(this.now())) {}
    this.wg.advance(this.now(), this.wall())
  }

  /** Sends one echo request through the tunnel; false without a session. */
  ping(peer: Peer): boolean {
    const packet = echoRequest()
    this.arena.bytes.set(packet, this.echo)
    return this.sendInner(peer, this.echo, packet.length)
  }

  private listen(socket: Socket) {
    socket.on("message", (bytes, info) => {
      this.arena.bytes.set(bytes, this.inbound)
      Object.assign(this.from.remote, parseAddress(info.address))
      this.from.port = info.port
      const code = receiveCodes[this.wg.receive(this.inbound, bytes.length, this.from, this.now())]!
      this.codes.push(code)
      this.types.push(bytes[0]!)
      if (code === "Data") this.answer()
      this.turn()
    })
  }

  private answer() {
    const { peer, plainLength, plainOffset } = this.wg
    const packet = this.arena.bytes.subarray(plainOffset, plainOffset + plainLength)
    if (packet[9] !== 1) return
    if (packet[20] === 0) this.replies++
    if (packet[20] !== 8) return
    const length = (packet[2]! << 8) | packet[3]!
    this.arena.bytes.set(packet.subarray(0, length), this.echo)
    const reply = this.arena.bytes.subarray(this.echo, this.echo + length)
    reply.set(packet.subarray(12, 16), 16)
    reply.set(packet.subarray(16, 20), 12)
    reply[20] = 0
    checksumInto(reply.subarray(20), 2)
    this.sendInner(peer, this.echo, length)
  }

  private sendInner(peer: Peer, offset: number, length: number): boolean {
    const sealed = this.wg.seal(peer, offset, length, this.outbound, this.now())
    if (sealed === 0) return false
    const datagram = this.arena.bytes.slice(this.outbound, this.outbound + sealed)
    this.socket.send(datagram, peer.endpoint.port, formatAddress(peer.endpoint.remote))
    return true
  }
}

const openSocket = (address: string): Effect.Effect<Socket, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<Socket>((resume) => {
      const socket = createSocket("udp4")
      socket.bind(0, address, () => resume(Effect.succeed(socket)))
    }),
    (socket) => Effect.sync(() => socket.close())
  )

const startOurs = Effect.fnUntraced(function* (options: OursOptions) {
  const socket = yield* openSocket(options.address)
  const ours = new Ours(socket, options.limits ?? {})
  yield* Effect.sync(() => ours.turn()).pipe(Effect.repeat(Schedule.spaced("20 millis")), Effect.forkScoped)
  return ours
})

/** Both ends configured for each other; `dial` tells wireguard-go where we are. */
const connect = Effect.fnUntraced(function* (options: { dial: boolean; limits?: Partial<HandshakeLimits> }) {
  const foreign = yield* startForeign
  const { device, here, inside, namespace } = foreign
  const ours = yield* startOurs({ address: here, ...(options.limits === undefined ? {} : { limits: options.limits }) })
  const file = (name: string, key: Uint8Array) =>
    runCommand(["sh", "-c", `umask 077; mkdir -p "$1" && cat > "$1/$2"`, "sh", directory, name], {
      input: `${base64(key)}\n`
    }).pipe(Effect.as(`${directory}/${name}`))
  const directory = `/run/${namespace}`
  yield* Effect.addFinalizer(() => Effect.ignore(runCommand(["rm", "-r", directory])))
  const privateKey = yield* file("private", foreign.privateKey)
  const preshared = yield* file("preshared", psk)
  const key = base64(ours.wg.publicKey)
  const set = (...parameters: ReadonlyArray<string>) => inside(["wg", "set", device, ...parameters])
  yield* set("private-key", privateKey, "listen-port", "51820")
  const setPeer = set(
    "peer",
    key,
    "preshared-key",
    preshared,
    "allowed-ips",
    `${inner.ours}/32`,
    ...(options.dial ? ["endpoint", `${here}:${ours.port}`] : [])
  )
  yield* setPeer
  yield* inside(["ip", "-batch", "-"], `address add ${inner.theirs}/24 dev ${device}\nlink set ${device} mtu 1420 up\n`)
  const publicKey = x25519Public(foreign.privateKey)
  const peer = ours.wg.addPeer({ publicKey, presharedKey: psk, keepalive: 0, user: 1 })
  const shown = (field: string) =>
    Effect.map(inside(["wg", "show", device, field]), (text) => text.trim().split("\t").slice(1).join(" "))
  const echoReplies = Effect.map(inside(["cat", "/proc/net/snmp"]), (text) => {
    const [names = [], values = []] = text
      .split("\n")
      .filter((line) => line.startsWith("Icmp:"))
      .map((line) => line.split(" "))
    return Number(values[names.indexOf("InEchoReps")])
  })
  /**
   * Sends `count` echo requests and returns how many replies came out of wireguard-go. The namespace's kernel counts
   * them: after its last request, ping itself waits only two round trips, so that it calls late replies lost.
   */
  const pingUs = Effect.fnUntraced(function* (count: number, ...more: ReadonlyArray<string>) {
    const before = yield* echoReplies
    const ping = ["ping", "-n", "-c", String(count), "-i", "0.05", "-W", "2", ...more, inner.ours]
    yield* attemptCommand(["ip", "netns", "exec", foreign.namespace, ...ping], { timeout: "20 seconds" })
    return yield* Effect.map(echoReplies, (now) => now - before).pipe(
      Effect.repeat({ schedule: Schedule.spaced("20 millis"), until: (replies) => replies >= count, times: 150 })
    )
  })
  return { ...foreign, ours, peer, set, setPeer, shown, pingUs, key }
})

const eventually = (description: string, condition: () => boolean) =>
  Effect.suspend(() =>
    condition() ? Effect.void : Effect.fail(new LabError({ message: `never came true: ${description}` }))
  ).pipe(Effect.retry({ schedule: Schedule.spaced("20 millis"), times: 500 }))

it.live("answers wireguard-go's handshake and carries pings of every size, without losing one", () =>
  Effect.gen(function* () {
    const { ours, peer, pingUs, shown } = yield* connect({ dial: true })

    for (const size of [0, 1, 16, 56, 1000, 1391, 1392]) {
      assert.strictEqual(yield* pingUs(3, "-s", String(size)), 3)
    }

    assert.deepStrictEqual(ours.events, ["EndpointChanged", "HandshakeDone"])
    assert.notStrictEqual(yield* shown("latest-handshakes"), "0")
    assert.isFalse(peer.current!.initiator)
    assert.strictEqual(ours.replies, 0)
  }).pipe(Effect.scoped)
)

it.live("starts the handshake itself with a wireguard-go that does not know where we are", () =>
  Effect.gen(function* () {
    const { here, ours, peer, pingUs, shown, there } = yield* connect({ dial: false })
    Object.assign(peer.endpoint.remote, parseAddress(there))
    peer.endpoint.port = 51820
    peer.hasEndpoint = true

    assert.isFalse(ours.ping(peer))
    yield* eventually("a handshake", () => ours.events.includes("HandshakeDone"))
    assert.isTrue(ours.ping(peer))
    yield* eventually("an echo reply", () => ours.replies === 1)

    assert.isTrue(peer.current!.initiator)
    assert.strictEqual(yield* pingUs(5), 5)
    assert.strictEqual(yield* shown("endpoints"), `${here}:${ours.port}`)
  }).pipe(Effect.scoped)
)

it.live("goes through rekeys under traffic, started by either side, without losing a packet", () =>
  Effect.gen(function* () {
    const { ours, peer, pingUs, shown } = yield* connect({ dial: true })
    assert.strictEqual(yield* pingUs(1), 1)

    const running = yield* Effect.forkChild(pingUs(40))
    yield* Effect.sleep("400 millis")
    const first = peer.current
    ours.wg.initiate(peer, ours.now(), ours.wall())
    yield* eventually("our rekey", () => peer.current !== first && peer.current!.initiator)
    yield* Effect.sleep("300 millis")
    // Two minutes later by our clock: the next packet we send makes us rekey.
    ours.skip(120_000)
    const second = peer.current
    yield* eventually("a rekey by age", () => peer.current !== second)

    assert.strictEqual(yield* Fiber.join(running), 40)
    assert.strictEqual(yield* pingUs(5), 5)
    assert.strictEqual(ours.events.filter((event) => event === "HandshakeDone").length, 3)
    assert.notStrictEqual(yield* shown("transfer"), "0 0")
  }).pipe(Effect.scoped)
)

it.live("accepts a wireguard-go that forgot its session and starts over", () =>
  Effect.gen(function* () {
    const { ours, peer, pingUs, setPeer, set, key } = yield* connect({ dial: true })
    assert.strictEqual(yield* pingUs(3), 3)
    const first = peer.current

    yield* set("peer", key, "remove")
    yield* setPeer
    assert.strictEqual(yield* pingUs(3), 3)

    assert.notStrictEqual(peer.current, first)
    assert.isFalse(peer.current!.initiator)
    assert.deepStrictEqual(ours.events, ["EndpointChanged", "HandshakeDone", "HandshakeDone"])
  }).pipe(Effect.scoped)
)

it.live("follows wireguard-go to another port, and is followed", () =>
  Effect.gen(function* () {
    const { here, ours, peer, pingUs, set, shown } = yield* connect({ dial: true })
    assert.strictEqual(yield* pingUs(1), 1)
    const session = peer.current

    yield* set("listen-port", "51999")
    assert.strictEqual(yield* pingUs(3), 3)
    assert.strictEqual(peer.endpoint.port, 51999)
    assert.deepStrictEqual(ours.events, ["EndpointChanged", "HandshakeDone", "EndpointChanged"])

    const before = ours.port
    ours.hop(yield* openSocket(here))
    assert.notStrictEqual(ours.port, before)
    ours.ping(peer)
    yield* eventually("an echo reply at the new port", () => ours.replies === 1)
    assert.strictEqual(yield* shown("endpoints"), `${here}:${ours.port}`)
    assert.strictEqual(yield* pingUs(3), 3)
    assert.strictEqual(peer.current, session)
  }).pipe(Effect.scoped)
)

it.live("makes wireguard-go prove its address with a cookie before a handshake", () =>
  Effect.gen(function* () {
    const { ours, pingUs } = yield* connect({ dial: true, limits: { loadMark: 0 } })

    // One request only (with -w, ping would go on sending): it waits at wireguard-go for the second initiation.
    const answer = yield* pingUs(1, "-i", "10", "-w", "9", "-W", "9")

    assert.strictEqual(answer, 1)
    assert.strictEqual(ours.codes[0], "CookieSent")
    assert.include(ours.codes.slice(1), "Handled")
    assert.deepStrictEqual(ours.events, ["EndpointChanged", "HandshakeDone"])
  }).pipe(Effect.scoped)
)

it.live("uses the cookie that a loaded wireguard-go demands", () =>
  Effect.gen(function* () {
    const { here, ours, peer, there } = yield* connect({ dial: false })
    Object.assign(peer.endpoint.remote, parseAddress(there))
    peer.endpoint.port = 51820
    peer.hasEndpoint = true
    // One valid initiation, over and over from a port whose answers nobody reads: more than it can work off.
    const flooder = yield* openSocket(here)
    let message: Uint8Array | undefined
    ours.tap = (bytes) => (message ??= bytes)
    ours.wg.initiate(peer, ours.now(), ours.wall())
    yield* eventually("the first handshake", () => ours.events.includes("HandshakeDone"))
    yield* Effect.sync(() => {
      for (let i = 0; i < 200; i++) flooder.send(message!, 51820, there)
    }).pipe(Effect.repeat(Schedule.spaced("2 millis")), Effect.forkScoped)
    yield* Effect.sleep("300 millis")

    let last: Uint8Array | undefined
    ours.tap = (bytes) => (last = bytes[0] === 1 ? bytes : last)
    ours.events.length = 0
    ours.wg.initiate(peer, ours.now(), ours.wall())
    yield* eventually("a cookie", () => ours.types.includes(3))
    assert.notInclude(ours.events, "HandshakeDone")
    ours.skip(5_400)
    yield* eventually("a handshake under load", () => ours.events.includes("HandshakeDone"))

    assert.isTrue(last!.subarray(132).some((byte) => byte !== 0))
  }).pipe(Effect.scoped)
)

/** An IPv4 echo request from our inner host to theirs. */
const echoRequest = (): Uint8Array => {
  const packet = new Uint8Array(20 + 8 + 32)
  packet.set([0x45, 0, 0, packet.length, 0, 1, 0, 0, 64, 1, 0, 0])
  packet.set(inner.ours.split(".").map(Number), 12)
  packet.set(inner.theirs.split(".").map(Number), 16)
  packet.set([8, 0, 0, 0, 0x12, 0x34, 0, 1], 20)
  checksumInto(packet.subarray(0, 20), 10)
  checksumInto(packet.subarray(20), 2)
  return packet
}

const checksumInto = (bytes: Uint8Array, at: number): void => {
  bytes[at] = 0
  bytes[at + 1] = 0
  let sum = 0
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i]! << 8) | (bytes[i + 1] ?? 0)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  bytes[at] = ~sum >> 8
  bytes[at + 1] = ~sum
}
