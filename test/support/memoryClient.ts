/** A WireGuard client in memory, on the other end of a `MemoryNetwork`. */
import * as Effect from "effect/Effect"
import { MemoryNetwork } from "../../layers/memory/DataPlaneMemory.ts"
import { makeNodePrimitives } from "../../layers/dataplane/nodePrimitives.ts"
import { Arena } from "../../src/packet/arena.ts"
import { type Endpoint, makeEndpoint } from "../../src/packet/endpoint.ts"
import { ReceiveCode } from "../../src/wireguard/receiveCode.ts"
import { type Peer, WireGuard } from "../../src/wireguard/WireGuard.ts"
import { addressWords } from "./packets.ts"

const gatewayEndpoint = endpointOf("192.0.2.1", 51820)

export class MemoryClient {
  readonly endpoint: Endpoint
  readonly wireguard: WireGuard
  readonly peer: Peer
  /** Inner packets that came through the tunnel, oldest first. */
  readonly received: Array<Uint8Array> = []
  /** Datagrams on their way to the gateway. */
  readonly outbox: Array<Uint8Array> = []
  private readonly arena = new Arena(new ArrayBuffer(1 << 18))
  private readonly at: number
  private readonly out: number
  now = 0

  constructor(options: { readonly privateKey: Uint8Array; readonly gatewayKey: Uint8Array; readonly port: number }) {
    this.endpoint = endpointOf("192.0.2.2", options.port)
    this.at = this.arena.reserve(70_000)
    this.out = this.arena.reserve(70_000)
    this.wireguard = new WireGuard({
      primitives: makeNodePrimitives(this.arena.bytes),
      privateKey: options.privateKey,
      arena: this.arena,
      send: (_, offset, length) => void this.outbox.push(this.arena.bytes.slice(offset, offset + length)),
      event: () => {}
    })
    this.peer = this.wireguard.addPeer({ publicKey: options.gatewayKey, presharedKey: null, keepalive: 0, user: 0 })
    Object.assign(this.peer.endpoint.remote, gatewayEndpoint.remote)
    this.peer.endpoint.port = gatewayEndpoint.port
    this.peer.hasEndpoint = true
  }

  /** A datagram from the gateway. */
  deliver(datagram: Uint8Array): void {
    this.arena.bytes.set(datagram, this.at)
    this.wireguard.beginTurn(false, this.now)
    const code = this.wireguard.receive(this.at, datagram.length, gatewayEndpoint, this.now)
    if (code === ReceiveCode.Data) {
      const { plainOffset, plainLength } = this.wireguard
      this.received.push(this.arena.bytes.slice(plainOffset, plainOffset + plainLength))
    }
    while (this.wireguard.workHandshakes(this.now)) {
      // Until none waits.
    }
  }

  /** Seals an inner packet; it waits in the outbox. */
  seal(packet: Uint8Array): void {
    this.arena.bytes.set(packet, this.at)
    const length = this.wireguard.seal(this.peer, this.at, packet.length, this.out, this.now)
    if (length > 0) this.outbox.push(this.arena.bytes.slice(this.out, this.out + length))
  }
}

/** Hands the client's datagrams to the gateway, and the gateway's to the clients by their port, until all is quiet. */
export const exchange = Effect.fnUntraced(function* (clients: ReadonlyArray<MemoryClient>) {
  const network = yield* MemoryNetwork
  const now = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
  yield* network.onDatagram((to, datagram) => {
    for (const client of clients) if (client.endpoint.port === to.port) client.deliver(datagram)
  })
  for (const client of clients) client.now = now
  for (;;) {
    const busy = clients.filter((client) => client.outbox.length > 0)
    if (busy.length === 0) return
    for (const client of busy) {
      const waiting = client.outbox.splice(0)
      if (!network.gathers) for (const datagram of waiting) yield* network.arrive(client.endpoint, datagram)
      else for (const run of equalRuns(waiting)) yield* network.arriveTogether(client.endpoint, run)
    }
  }
})

/** As a kernel gathers them: datagrams of one size, the last of which may be shorter, at most 64. */
const equalRuns = (datagrams: ReadonlyArray<Uint8Array>): ReadonlyArray<ReadonlyArray<Uint8Array>> => {
  const runs: Array<Array<Uint8Array>> = []
  for (const datagram of datagrams) {
    const run = runs.at(-1)
    const size = run?.[0]?.length ?? 0
    const open = run !== undefined && run.length < 64 && run.at(-1)!.length === size
    if (open && datagram.length <= size) run.push(datagram)
    else runs.push([datagram])
  }
  return runs
}

/** Completes a handshake started by the client. */
export const connect = Effect.fnUntraced(function* (client: MemoryClient) {
  client.now = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
  client.wireguard.initiate(client.peer, client.now, client.now)
  yield* exchange([client])
})

/** Sends inner packets through the tunnel; what comes back is in `client.received`. */
export const sendInner = Effect.fnUntraced(function* (client: MemoryClient, ...packets: ReadonlyArray<Uint8Array>) {
  client.now = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
  for (const packet of packets) client.seal(packet)
  yield* exchange([client])
})

function endpointOf(address: string, port: number): Endpoint {
  const endpoint = makeEndpoint()
  Object.assign(endpoint.remote, addressWords(address))
  endpoint.port = port
  return endpoint
}
