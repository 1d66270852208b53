/** Our TURN client and reference servers on a simulated network with a simulated clock. */
import type { LearnedCandidate } from "../../src/ice/RelayAddress.ts"
import { channelHeaderLength, writeChannelHeader } from "../../src/ice/channelTable.ts"
import { Relays } from "../../src/ice/Relays.ts"
import { type Relay, RelayId } from "../../src/model/Relay.ts"
import { copyWords, formatAddress, isIpv4 } from "../../src/packet/address.ts"
import { read16 } from "../../src/packet/bytes.ts"
import { makeEndpoint } from "../../src/packet/endpoint.ts"
import { formatTransport, type TransportAddress, transportAddress } from "../../src/packet/transportAddress.ts"
import { type Datagram, TurnServer, type TurnServerOptions } from "./turnServer.ts"

/** `1.2.3.4:5` or `[::1]:5`. */
export const at = (text: string): TransportAddress => {
  const colon = text.lastIndexOf(":")
  return transportAddress(text.slice(0, colon).replace(/[[\]]/g, ""), Number(text.slice(colon + 1)))!
}

/** Numbers in [0, 1), always the same ones for a seed (mulberry32). */
export const randomFrom = (seed: number) => {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}

const us = { v4: at("192.0.2.10:52625"), v6: at("[2001:db8::10]:52625") }
export const relayA = RelayId.make("a")
export const relayB = RelayId.make("b")

export interface RelayWorldOptions {
  readonly ipv4?: boolean
  readonly ipv6?: boolean
  /** One way, in milliseconds. */
  readonly latency?: number
}

export class RelayWorld {
  now = 0
  readonly relays: Relays
  /** Everything told, as lines. */
  readonly told: Array<string> = []
  readonly received: Array<{ readonly peer: string; readonly text: string; readonly handle: number }> = []
  readonly servers: Array<TurnServer> = []
  /** How a NAT rewrites our address on the way out. */
  nat = (address: TransportAddress): TransportAddress => address
  /** Datagrams in both directions that are lost. */
  drops: (datagram: Datagram) => boolean = () => false
  sent = 0
  private readonly latency: number
  private wire: Array<{ readonly at: number; readonly datagram: Datagram; readonly toUs: boolean }> = []
  private readonly random = randomFrom(1)

  constructor(options: RelayWorldOptions = {}) {
    this.latency = options.latency ?? 10
    const candidate = (relay: string, c: LearnedCandidate) => `${relay} ${c.kind} ${formatTransport(c.address)}`
    this.relays = new Relays({
      families: { ipv4: options.ipv4 ?? true, ipv6: options.ipv6 ?? true },
      randomBytes: (out) => {
        for (let i = 0; i < out.length; i++) out[i] = Math.floor(this.random() * 256)
      },
      transmit: (to, bytes) => this.send(to, bytes),
      events: {
        found: (relay, c) => this.told.push(`found ${candidate(relay, c)}`),
        lost: (relay, c) => this.told.push(`lost ${candidate(relay, c)}`),
        relayLost: (relay, reason, left) => this.told.push(`relay ${relay} lost: ${reason}, ${left} left`),
        channelBound: (channel) => this.told.push(`bound ${formatTransport(channel.peer)}`),
        channelRefused: (channel) => this.told.push(`refused ${formatTransport(channel.peer)}`)
      }
    })
  }

  addServer(options: Partial<TurnServerOptions> = {}): TurnServer {
    const server = new TurnServer({
      addresses: [at("203.0.113.1:3478"), at("[2001:db8:1::1]:3478")],
      users: { ann: "secret" },
      ...options
    })
    this.servers.push(server)
    return server
  }

  /** Sets the relays: ids and the servers behind them. */
  set(relays: Readonly<Record<string, TurnServer>>, username = "ann", password = "secret"): void {
    const all = Object.entries(relays).map(([id, server]): Relay => ({
      id: RelayId.make(id),
      addresses: server.addresses.map(({ address, port }) => ({ address: formatAddress(address), port })),
      username,
      password
    }))
    this.relays.set(all, this.now)
  }

  /** Lets time pass: everything that falls due happens in its order. */
  run(milliseconds: number): void {
    const end = this.now + milliseconds
    for (let steps = 0; steps < 1_000_000; steps++) {
      const next = Math.min(this.relays.nextDeadline(), ...this.wire.map((entry) => entry.at))
      if (next > end) break
      this.now = Math.max(this.now, next)
      this.deliver()
      this.relays.advance(this.now)
    }
    this.now = end
  }

  /** What was told since the last time. */
  news(): ReadonlyArray<string> {
    return this.told.splice(0)
  }

  /** Sends through a channel, as the packet path does. */
  sendData(handle: number, text: string): boolean {
    const channel = this.relays.channels.get(handle)
    if (channel === undefined) return false
    const payload = new TextEncoder().encode(text)
    const bytes = new Uint8Array(channelHeaderLength + payload.length)
    writeChannelHeader(bytes, 0, channel.number, payload.length)
    bytes.set(payload, channelHeaderLength)
    channel.sent = true
    this.send({ address: channel.server.remote, port: channel.server.port }, bytes)
    return true
  }

  peerSends(server: TurnServer, peer: TransportAddress, relayed: TransportAddress, text: string): void {
    for (const datagram of server.fromPeer(peer, relayed, text, this.now)) this.put(datagram, true)
  }

  /** The relayed address of a relay in a family. */
  relayed(relay: RelayId = relayA, v4 = true): TransportAddress {
    return this.relays.candidates(relay).find((c) => c.kind === "relay" && isIpv4(c.address.address) === v4)!.address
  }

  /** Any datagram at our socket. */
  inject(from: TransportAddress, bytes: Uint8Array): void {
    this.take({ from, to: isIpv4(from.address) ? us.v4 : us.v6, bytes })
  }

  private send(to: TransportAddress, bytes: Uint8Array): void {
    this.sent++
    const from = this.nat(isIpv4(to.address) ? us.v4 : us.v6)
    this.put({ from, to, bytes: bytes.slice() }, false)
  }

  private put(datagram: Datagram, toUs: boolean): void {
    if (!this.drops(datagram)) this.wire.push({ at: this.now + this.latency, datagram, toUs })
  }

  private deliver(): void {
    const due = this.wire.filter((entry) => entry.at <= this.now)
    this.wire = this.wire.filter((entry) => entry.at > this.now)
    for (const { datagram, toUs } of due) {
      if (toUs) this.take(datagram)
      else this.atServer(datagram)
    }
  }

  private atServer(datagram: Datagram): void {
    const to = formatTransport(datagram.to)
    const server = this.servers.find((server) => server.addresses.some((address) => formatTransport(address) === to))
    for (const answer of server?.receive(datagram, this.now) ?? []) this.put(answer, true)
  }

  /** As the packet path takes it: channel data first, then STUN; somewhere inside a larger buffer. */
  private take({ bytes, from }: Datagram): void {
    const buffer = new Uint8Array(bytes.length + 14).fill(0xaa)
    buffer.set(bytes, 7)
    const endpoint = makeEndpoint()
    copyWords(from.address, endpoint.remote)
    endpoint.port = from.port
    const channel = this.relays.receiveData(buffer, 7, bytes.length, endpoint)
    if (channel !== undefined) {
      const payload = buffer.subarray(7 + channelHeaderLength, 7 + channelHeaderLength + read16(buffer, 9))
      const text = new TextDecoder().decode(payload)
      this.received.push({ peer: formatTransport(channel.peer), text, handle: channel.handle })
      return
    }
    const local = isIpv4(from.address) ? us.v4 : us.v6
    this.relays.receive(buffer, 7, bytes.length, from, local, this.now)
    buffer.fill(0xbb)
  }
}
