/**
 * Many WireGuard clients in one process: each has its own key and UDP socket, bound to one of several source
 * addresses. Times are taken right before a datagram is handed to the kernel and first thing when one arrives.
 */
import { createSocket, type Socket } from "node:dgram"
import { makeMemory, type NativeMemory } from "../../../layers/dataplane/native/memory.ts"
import { makePrimitives } from "../../../layers/dataplane/native/primitives.ts"
import { makeEndpoint } from "../../../src/packet/endpoint.ts"
import { parseAddress } from "../../../src/packet/address.ts"
import type { Primitives } from "../../../src/wireguard/primitives.ts"
import { ReceiveCode } from "../../../src/wireguard/receiveCode.ts"
import { type Peer, WireGuard } from "../../../src/wireguard/WireGuard.ts"

export interface FleetClient {
  readonly privateKey: string
  readonly tunnel4: string
}

export interface FleetJob {
  readonly gateway: { readonly address: string; readonly port: number; readonly publicKey: string }
  readonly clients: ReadonlyArray<FleetClient>
  /** Clients take turns at these. */
  readonly sources: ReadonlyArray<string>
  /** The benched programs' own parameters. */
  readonly parameters: Readonly<Record<string, number>>
}

/** Monotonic milliseconds, the same clock in all processes. */
export const clock = (): number => Number(process.hrtime.bigint()) / 1e6

const limits = { queue: 4, sourceRows: 1, perSecond: 1e6, burst: 1e6 }

export class Fleet {
  readonly members: Array<Member> = []
  private readonly memory: NativeMemory
  private readonly primitives: Primitives
  private turn = 0

  private constructor() {
    this.memory = makeMemory(16)
    this.primitives = makePrimitives(this.memory).primitives
  }

  /** Sends the keepalives that a client owes; call it every few milliseconds. */
  tick(): void {
    const share = Math.ceil(this.members.length / 64)
    for (let n = 0; n < share; n++) {
      this.turn = (this.turn + 1) % this.members.length
      this.members[this.turn]!.advance()
    }
  }

  static async open(job: FleetJob): Promise<Fleet> {
    const fleet = new Fleet()
    const at = fleet.memory.arena.reserve(4_096)
    const out = fleet.memory.arena.reserve(4_096)
    for (const [index, client] of job.clients.entries()) {
      const socket = await open(job.sources[index % job.sources.length]!, job.gateway)
      fleet.members.push(new Member(fleet.memory, fleet.primitives, { at, out }, job, client, socket))
    }
    return fleet
  }

  close(): void {
    for (const member of this.members) member.close()
  }
}

export class Member {
  readonly tunnel4: string
  /** Clock when the initiation left; 0 before. */
  initiatedAt = 0
  /** Clock when the response came; 0 before. */
  connectedAt = 0
  /** Called in the turn of the response, once the tunnel is usable. */
  onConnected: () => void = () => {}
  /** An inner packet came; the bytes are valid during the call. */
  onPacket: (packet: Uint8Array, at: number) => void = () => {}
  private usable = false
  private readonly bytes: Uint8Array
  private readonly buffer: Buffer
  private readonly at: number
  private readonly out: number
  private readonly wireguard: WireGuard
  private readonly peer: Peer
  private readonly socket: Socket
  private readonly endpoint = makeEndpoint()

  constructor(
    memory: NativeMemory,
    primitives: Primitives,
    space: { readonly at: number; readonly out: number },
    job: FleetJob,
    client: FleetClient,
    socket: Socket
  ) {
    this.tunnel4 = client.tunnel4
    this.bytes = memory.arena.bytes
    this.buffer = Buffer.from(memory.memory.buffer)
    this.at = space.at
    this.out = space.out
    this.socket = socket
    Object.assign(this.endpoint.remote, parseAddress(job.gateway.address))
    this.endpoint.port = job.gateway.port
    this.wireguard = new WireGuard({
      primitives,
      privateKey: Buffer.from(client.privateKey, "base64"),
      arena: memory.arena,
      send: (_, offset, length) => this.transmit(offset, length),
      event: (_, event) => {
        if (event !== "HandshakeDone" || this.usable) return
        this.usable = true
        this.onConnected()
      },
      limits
    })
    this.peer = this.wireguard.addPeer({
      publicKey: Buffer.from(job.gateway.publicKey, "base64"),
      presharedKey: null,
      keepalive: 0,
      user: 0
    })
    Object.assign(this.peer.endpoint, this.endpoint)
    this.peer.hasEndpoint = true
    socket.on("message", (datagram) => this.receive(datagram, clock()))
  }

  connect(): void {
    const now = clock()
    this.wireguard.initiate(this.peer, now, performance.timeOrigin + performance.now())
  }

  /** Sends an inner packet; the clock at which it left. */
  send(packet: Uint8Array): number {
    this.bytes.set(packet, this.at)
    const length = this.wireguard.seal(this.peer, this.at, packet.length, this.out, clock())
    if (length === 0) throw new Error("a client without a session was told to send")
    const left = clock()
    this.transmit(this.out, length)
    return left
  }

  advance(): void {
    const now = clock()
    if (this.wireguard.nextDeadline() <= now) this.wireguard.advance(now, performance.timeOrigin + performance.now())
  }

  close(): void {
    this.socket.close()
  }

  private transmit(offset: number, length: number): void {
    // Node may send later than now: the shared buffer cannot be lent.
    const datagram = Buffer.from(this.buffer.subarray(offset, offset + length))
    if (datagram[0] === 1 && this.initiatedAt === 0) this.initiatedAt = clock()
    this.socket.send(datagram)
  }

  private receive(datagram: Buffer, at: number): void {
    this.bytes.set(datagram, this.at)
    if (datagram[0] === 2 && this.connectedAt === 0) this.connectedAt = at
    const code = this.wireguard.receive(this.at, datagram.length, this.endpoint, at)
    if (code === ReceiveCode.Data) {
      const { plainLength, plainOffset } = this.wireguard
      this.onPacket(this.bytes.subarray(plainOffset, plainOffset + plainLength), at)
    }
    while (this.wireguard.workHandshakes(at)) {
      // Until none waits.
    }
  }
}

const open = (source: string, gateway: FleetJob["gateway"]): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = createSocket("udp4")
    socket.once("error", reject)
    socket.bind(0, source, () =>
      socket.connect(gateway.port, gateway.address, () => {
        socket.off("error", reject)
        socket.on("error", () => undefined)
        resolve(socket)
      })
    )
  })

/** Ticks until the promise is settled. */
export const ticking = async <A>(fleet: Fleet, work: Promise<A>): Promise<A> => {
  const timer = setInterval(() => fleet.tick(), 10)
  try {
    return await work
  } finally {
    clearInterval(timer)
  }
}

/**
 * Calls `run(i)` for i below `count`, `perSecond` of them each second, evenly. Yields by how much each wake-up was late,
 * in milliseconds: what the generator itself could not see in time.
 */
export const paced = async (count: number, perSecond: number, run: (i: number) => void): Promise<Array<number>> => {
  const start = clock()
  const late: Array<number> = []
  for (let i = 0; i < count;) {
    const due = Math.min(count, Math.floor(((clock() - start) / 1_000) * perSecond) + 1)
    for (; i < due; i++) run(i)
    const slept = clock()
    await new Promise((resolve) => setTimeout(resolve, 1))
    late.push(Math.max(0, clock() - slept - 1))
  }
  return late
}
