/**
 * Two peers on a network that loses, repeats, reorders and forges: nobody opens what was not sent, nothing is taken twice,
 * and when the network is good again packets pass within 30 s.
 */
import { makeNodePrimitives } from "../../../layers/dataplane/nodePrimitives.ts"
import { Arena } from "../../../src/packet/arena.ts"
import { type Endpoint, makeEndpoint } from "../../../src/packet/endpoint.ts"
import { macOf } from "../handshakeMac.ts"
import { ReceiveCode } from "../../../src/wireguard/receiveCode.ts"
import { type Peer, WireGuard } from "../../../src/wireguard/WireGuard.ts"
import { gatewayPrivateKey, gatewayPublicKey, key } from "../../support/engineWorld.ts"
import { addressWords } from "../../support/packets.ts"
import type { Random } from "../Random.ts"
import { invariant, type Target } from "../Target.ts"

const limits = { sourceRows: 8, queue: 64 }
const maxDatagram = 2_000

const endpoint = (address: string, port: number): Endpoint => {
  const made = makeEndpoint()
  Object.assign(made.remote, addressWords(address))
  made.port = port
  return made
}

class End {
  readonly wireguard: WireGuard
  peer!: Peer
  readonly outbox: Array<Uint8Array> = []
  private readonly arena = new Arena(new ArrayBuffer(1 << 16))
  private readonly at = this.arena.reserve(maxDatagram)
  private readonly out = this.arena.reserve(maxDatagram)
  private readonly other: Endpoint

  constructor(privateKey: Uint8Array, other: Endpoint, random: Random) {
    this.other = other
    const primitives = makeNodePrimitives(this.arena.bytes)
    this.wireguard = new WireGuard({
      primitives: { ...primitives, randomBytes: (into) => random.fill(into) },
      privateKey,
      arena: this.arena,
      send: (_, offset, length) => void this.outbox.push(this.arena.bytes.slice(offset, offset + length)),
      event: () => {},
      limits
    })
  }

  /** The inner packet of a datagram that brings one. */
  receive(datagram: Uint8Array, now: number): string | undefined {
    this.arena.bytes.set(datagram, this.at)
    this.wireguard.beginTurn(false, now)
    const code = this.wireguard.receive(this.at, datagram.length, this.other, now)
    const { plainLength, plainOffset } = this.wireguard
    const inner = Buffer.from(this.arena.bytes.slice(plainOffset, plainOffset + plainLength)).toString("hex")
    while (this.wireguard.workHandshakes(now)) {
      // Until none waits.
    }
    return code === ReceiveCode.Data ? inner : undefined
  }

  seal(packet: Uint8Array, now: number): void {
    this.arena.bytes.set(packet, this.at)
    const length = this.wireguard.seal(this.peer, this.at, packet.length, this.out, now)
    if (length > 0) this.outbox.push(this.arena.bytes.slice(this.out, this.out + length))
  }
}

class Network {
  now = 100_000
  readonly wire: Array<{ readonly to: End; readonly bytes: Uint8Array }> = []
  readonly client: End
  readonly gateway: End
  private serial = 0
  /** Packets that were sealed, and whether they have arrived. */
  private readonly sent = new Map<string, boolean>()

  constructor(keepalive: number, random: Random) {
    this.gateway = new End(gatewayPrivateKey, endpoint("192.0.2.2", 40_001), random)
    this.client = new End(key(1), endpoint("192.0.2.1", 51_820), random)
    const plain = { presharedKey: null, user: 0 }
    const { publicKey } = this.client.wireguard
    this.gateway.peer = this.gateway.wireguard.addPeer({ ...plain, publicKey, keepalive })
    this.client.peer = this.client.wireguard.addPeer({ ...plain, publicKey: gatewayPublicKey, keepalive: 0 })
    Object.assign(this.client.peer.endpoint, endpoint("192.0.2.1", 51_820))
    this.client.peer.hasEndpoint = true
  }

  initiate(end: End): void {
    end.wireguard.initiate(end.peer, this.now, this.now)
    this.collect()
  }

  /** Returns the packet's text, for `arrived`. */
  send(from: End): string {
    const packet = Buffer.alloc(32)
    packet.write(`${from === this.client ? "client" : "gateway"} ${this.serial++}`)
    const text = packet.toString("hex")
    this.sent.set(text, false)
    from.seal(packet, this.now)
    this.wait(0)
    return text
  }

  arrived(packet: string): boolean {
    return this.sent.get(packet) === true
  }

  wait(milliseconds: number): void {
    this.now += milliseconds
    for (const { wireguard } of [this.gateway, this.client]) wireguard.advance(this.now, this.now)
    this.collect()
  }

  deliver(index: number, keep = false): void {
    const datagram = this.wire[index % this.wire.length]
    if (datagram === undefined) return
    if (!keep) this.wire.splice(index % this.wire.length, 1)
    this.receive(datagram.to, datagram.bytes)
  }

  /** A copy with another bit, its first MAC made good when it has one: that needs no secret. */
  forge(index: number, bit: number, place: number): void {
    const datagram = this.wire[index % this.wire.length]
    if (datagram === undefined) return
    const bytes = datagram.bytes.slice()
    bytes[place % bytes.length]! ^= 1 << (bit & 7)
    const macAt = bytes.length - 32
    if ((bit & 64) !== 0 && (bytes[0] === 1 || bytes[0] === 2) && macAt > 0) bytes.set(macOf(bytes, macAt), macAt)
    this.receive(datagram.to, bytes)
  }

  private receive(to: End, bytes: Uint8Array): void {
    const packet = to.receive(bytes, this.now)
    if (packet !== undefined) {
      const arrived = this.sent.get(packet)
      invariant(arrived !== undefined, "a packet that nobody sent is opened")
      invariant(!arrived, "a packet is taken twice")
      this.sent.set(packet, true)
    }
    this.collect()
  }

  private collect(): void {
    for (const bytes of this.client.outbox.splice(0)) this.wire.push({ to: this.gateway, bytes })
    for (const bytes of this.gateway.outbox.splice(0)) this.wire.push({ to: this.client, bytes })
    if (this.wire.length > 200) this.wire.splice(0, 100)
  }
}

const step = (network: Network, op: number, argument: number): void => {
  const { client, gateway, wire } = network
  switch (op % 13) {
    case 0:
      return network.initiate(client)
    case 1:
      return network.initiate(gateway)
    case 2:
      return void network.send(client)
    case 3:
      return void network.send(gateway)
    case 4:
    case 5:
      return network.deliver(0)
    case 6:
      return network.deliver(op)
    case 7:
      return network.wait(argument * 800)
    case 8:
      return network.deliver(argument, true)
    case 9:
      return void wire.splice(op % Math.max(1, wire.length), 1)
    case 10:
      return network.forge(op, op, argument)
    case 11:
      return network.wait(50 * (op >> 4))
    default:
      while (wire.length > 0) network.deliver(0)
  }
}

const heals = (network: Network): void => {
  const begun = network.now
  let [fromClient, fromGateway] = [false, false]
  while (!fromClient || !fromGateway) {
    invariant(network.now - begun < 30_000, `dead for 30 s: ${fromClient ? "from the gateway" : "from the client"}`)
    const packets = [network.send(network.client), network.send(network.gateway)] as const
    for (let i = 0; network.wire.length > 0 && i < 500; i++) network.deliver(0)
    fromClient ||= network.arrived(packets[0])
    // A gateway that nobody has called does not know where the client is.
    fromGateway ||= network.arrived(packets[1]) || !network.gateway.peer.hasEndpoint
    network.wait(250)
  }
}

export const target: Target = {
  seeds: [
    Uint8Array.from({ length: 60 }, (_, i) => i * 7),
    Uint8Array.of(0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
    Uint8Array.of(0, 8, 1, 8, 2, 8),
    Uint8Array.of(0, 7, 200, 0, 7, 200, 3, 3, 0)
  ],
  dictionary: [],
  maxLength: 400,
  lifetime: 1,
  bound: 500,
  start: (random) => (input) => {
    const network = new Network((input[0] ?? 0) % 2 === 1 ? 25 : 0, random)
    for (let i = 0; i < input.length; i++) {
      const op = input[i]!
      const takesArgument = op % 13 === 7 || op % 13 === 8 || op % 13 === 10
      step(network, op, takesArgument ? (input[++i] ?? 1) : 0)
    }
    heals(network)
    network.gateway.wireguard.close()
    network.client.wireguard.close()
  }
}
