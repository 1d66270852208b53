/**
 * A reference TURN server (RFC 8656 over UDP), sans-IO and strict: what a client must not do is written down in
 * `violations`. Long-term credentials; relayed addresses of one or both families; permissions, channels, lifetimes.
 */
import { type StunMessage, parseStun } from "../../src/ice/stun.ts"
import { longTermKey } from "../../src/ice/stunIntegrity.ts"
import { AddressFamily, StunAttribute, StunMethod } from "../../src/ice/stunProtocol.ts"
import { StunWriter } from "../../src/ice/StunWriter.ts"
import { isIpv4 } from "../../src/packet/address.ts"
import { read16, write16 } from "../../src/packet/bytes.ts"
import { formatTransport, type TransportAddress, transportAddress } from "../../src/packet/transportAddress.ts"

export interface Datagram {
  readonly from: TransportAddress
  readonly to: TransportAddress
  readonly bytes: Uint8Array
}

interface ServerChannel {
  readonly number: number
  readonly peer: TransportAddress
  /** The peer as text. */
  readonly name: string
  expiresAt: number
}

interface ServerAllocation {
  readonly client: TransportAddress
  readonly server: TransportAddress
  readonly username: string
  readonly relayed: ReadonlyArray<TransportAddress>
  expiresAt: number
  readonly channels: Map<number, ServerChannel>
  /** By the peer's address, without port. */
  readonly permissions: Map<string, number>
}

export interface TurnServerOptions {
  readonly addresses: ReadonlyArray<TransportAddress>
  readonly realm?: string
  readonly users: Record<string, string>
  /** Relayed addresses' hosts; default: one of each family. */
  readonly relayed4?: string | null
  readonly relayed6?: string | null
}

export class TurnServer {
  readonly addresses: ReadonlyArray<TransportAddress>
  /** Requests in order: method, and the error it was answered with (0 for success). */
  readonly log: Array<{ readonly method: number; readonly error: number; readonly at: number; readonly from: string }> =
    []
  readonly violations: Array<string> = []
  /** What arrived at peers. */
  readonly delivered: Array<{
    readonly peer: TransportAddress
    readonly relayed: TransportAddress
    readonly text: string
  }> = []
  users: Record<string, string>
  relayed4: string | null
  relayed6: string | null
  lifetime = 600
  realm: string
  /** Answers nothing. */
  silent = false
  /** Answers Binding only. */
  deaf = false
  /** Error code by method, instead of doing it. */
  readonly refuse = new Map<number, number>()
  /** Peers that are refused with 403. */
  readonly forbidden = new Set<string>()
  /** Breaks MESSAGE-INTEGRITY of all answers. */
  forge = false
  /** Signs no answer, as the portal's relays did until November 2024. */
  unsigned = false
  /** The next so many authenticated requests find their nonce stale. */
  staleNext = 0
  /** A server that cannot do both families at once answers 440. */
  dualFamily = true
  private nonce = 1
  private nextPort = 50_000
  private allocations: Array<ServerAllocation> = []

  constructor(options: TurnServerOptions) {
    this.addresses = options.addresses
    this.users = options.users
    this.realm = options.realm ?? "firezone"
    this.relayed4 = options.relayed4 === undefined ? "198.51.100.9" : options.relayed4
    this.relayed6 = options.relayed6 === undefined ? "2001:db8:9::9" : options.relayed6
  }

  /** Forgets everything, as a process that was killed and started again. */
  restart(): void {
    this.allocations = []
    this.nonce++
  }

  liveAllocations(now: number): ReadonlyArray<ServerAllocation> {
    this.allocations = this.allocations.filter((allocation) => allocation.expiresAt > now)
    return this.allocations
  }

  /** How often a method was asked for, and answered so. */
  count(method: number, error = 0): number {
    return this.log.filter((entry) => entry.method === method && entry.error === error).length
  }

  /** A datagram from a client. Gives what goes back. */
  receive({ bytes, from, to }: Datagram, now: number): ReadonlyArray<Datagram> {
    if (this.silent) return []
    if (bytes[0]! >= 0x40) {
      this.fromClient(bytes, from, to, now)
      return []
    }
    const message = parseStun(bytes)
    if (message?.class !== "request") return []
    if (this.deaf && message.method !== StunMethod.binding) return []
    const answer = this.answer(message, from, to, now)
    return [{ from: to, to: from, bytes: answer }]
  }

  /** A datagram from a peer to a relayed address. Gives what goes to the client. */
  fromPeer(peer: TransportAddress, relayed: TransportAddress, text: string, now: number): ReadonlyArray<Datagram> {
    if (this.silent) return []
    const allocation = this.liveAllocations(now).find((a) => a.relayed.some((r) => same(r, relayed)))
    if (allocation === undefined) return []
    if ((allocation.permissions.get(hostOf(peer)) ?? 0) <= now) return []
    const channel = [...allocation.channels.values()].find((c) => same(c.peer, peer) && c.expiresAt > now)
    if (channel === undefined) return []
    const payload = new TextEncoder().encode(text)
    const bytes = new Uint8Array(4 + payload.length)
    write16(bytes, 0, channel.number)
    write16(bytes, 2, payload.length)
    bytes.set(payload, 4)
    return [{ from: allocation.server, to: allocation.client, bytes }]
  }

  private fromClient(bytes: Uint8Array, from: TransportAddress, to: TransportAddress, now: number): void {
    const channel = this.allocationOf(from, to, now)?.channels.get(read16(bytes, 0))
    if (channel === undefined || channel.expiresAt <= now) return
    const relayed = this.allocationOf(from, to, now)!.relayed.find((r) => sameFamily(r, channel.peer))!
    const text = new TextDecoder().decode(bytes.subarray(4, 4 + read16(bytes, 2)))
    this.delivered.push({ peer: channel.peer, relayed, text })
  }

  private allocationOf(client: TransportAddress, server: TransportAddress, now: number): ServerAllocation | undefined {
    return this.liveAllocations(now).find((a) => same(a.client, client) && same(a.server, server))
  }

  private answer(message: StunMessage, from: TransportAddress, to: TransportAddress, now: number): Uint8Array {
    const { method, transaction } = message
    const note = (error: number) => this.log.push({ method, error, at: now, from: formatTransport(from) })
    if (method === StunMethod.binding) {
      note(0)
      return new StunWriter("success", method, transaction)
        .address(StunAttribute.xorMappedAddress, from)
        .finish(undefined, false)
    }
    const username = message.text(StunAttribute.username) ?? ""
    const password = this.users[username]
    const key =
      password === undefined ? undefined : longTermKey(username, new TextEncoder().encode(this.realm), password)
    const refuse = (error: number) => {
      note(error)
      const answer = new StunWriter("error", method, transaction).error(error, "no")
      if (error === 401 || error === 438) {
        return answer
          .text(StunAttribute.realm, this.realm)
          .text(StunAttribute.nonce, `nonce-${this.nonce}`)
          .finish(undefined, false)
      }
      return answer.finish(this.signing(key), false)
    }
    if (!message.hasIntegrity) return refuse(401)
    if (message.text(StunAttribute.realm) !== this.realm) return refuse(401)
    if (this.staleNext > 0) {
      this.staleNext--
      this.nonce++
    }
    if (message.text(StunAttribute.nonce) !== `nonce-${this.nonce}`) return refuse(438)
    if (key === undefined || !message.verify(key)) return refuse(401)
    const forced = this.refuse.get(method)
    if (forced !== undefined) return refuse(forced)
    const allocation = this.allocationOf(from, to, now)
    if (allocation !== undefined && allocation.username !== username) return refuse(441)
    const done = new StunWriter("success", method, transaction)
    const error =
      method === StunMethod.allocate
        ? this.allocate(message, allocation, done, { client: from, server: to, username, now })
        : allocation === undefined
          ? 437
          : method === StunMethod.refresh
            ? this.refresh(message, allocation, done, now)
            : method === StunMethod.channelBind
              ? this.bind(message, allocation, now)
              : 400
    if (error !== 0) return refuse(error)
    note(0)
    return done.finish(this.signing(key), false)
  }

  private signing(key: Uint8Array | undefined): Uint8Array | undefined {
    if (this.unsigned) return undefined
    return this.forge ? new Uint8Array(16).fill(7) : key
  }

  private allocate(
    message: StunMessage,
    existing: ServerAllocation | undefined,
    answer: StunWriter,
    who: { readonly client: TransportAddress; readonly server: TransportAddress; username: string; now: number }
  ): number {
    if (existing !== undefined) return 437
    if (message.number(StunAttribute.requestedTransport) !== 17 << 24) return 442
    const additional = message.value(StunAttribute.additionalAddressFamily)
    const family = message.value(StunAttribute.requestedAddressFamily)?.[0] ?? AddressFamily.ipv4
    if (additional !== undefined && message.has(StunAttribute.requestedAddressFamily)) return 400
    if (additional !== undefined && !this.dualFamily) return 440
    const hosts = [
      additional !== undefined || family === AddressFamily.ipv4 ? this.relayed4 : null,
      additional !== undefined || family === AddressFamily.ipv6 ? this.relayed6 : null
    ].filter((host) => host !== null)
    if (hosts.length === 0) return 440
    const port = this.nextPort++
    const relayed = hosts.map((host) => transportAddress(host, port)!)
    this.allocations.push({
      client: who.client,
      server: who.server,
      username: who.username,
      relayed,
      expiresAt: who.now + this.lifetime * 1000,
      channels: new Map(),
      permissions: new Map()
    })
    for (const address of relayed) answer.address(StunAttribute.xorRelayedAddress, address)
    answer.address(StunAttribute.xorMappedAddress, who.client).number(StunAttribute.lifetime, this.lifetime)
    return 0
  }

  private refresh(message: StunMessage, allocation: ServerAllocation, answer: StunWriter, now: number): number {
    const lifetime = message.number(StunAttribute.lifetime) === 0 ? 0 : this.lifetime
    allocation.expiresAt = now + lifetime * 1000
    answer.number(StunAttribute.lifetime, lifetime)
    return 0
  }

  /** RFC 8656 §12: numbers and peers rest for 5 minutes after a binding ended. */
  private bind(message: StunMessage, allocation: ServerAllocation, now: number): number {
    const number = (message.number(StunAttribute.channelNumber) ?? 0) >>> 16
    const peer = message.address(StunAttribute.xorPeerAddress)
    if (peer === undefined || number < 0x4000 || number > 0x4fff) return this.violation(`bad number ${number} or peer`)
    for (const [other, channel] of allocation.channels) {
      if (channel.expiresAt + 300_000 <= now) allocation.channels.delete(other)
    }
    const name = formatTransport(peer)
    if (this.forbidden.has(name)) return 403
    if (!allocation.relayed.some((relayed) => sameFamily(relayed, peer))) return this.violation("other family", 443)
    const holder = allocation.channels.get(number)
    if (holder !== undefined && holder.name !== name) return this.violation(`number ${number} is another peer's`)
    const others = [...allocation.channels.values()].filter((c) => c.number !== number && c.name === name)
    if (others.length > 0) return this.violation(`${name} has another number`)
    allocation.channels.set(number, { number, peer, name, expiresAt: now + 600_000 })
    allocation.permissions.set(hostOf(peer), now + 300_000)
    return 0
  }

  private violation(text: string, error = 400): number {
    this.violations.push(text)
    return error
  }
}

const same = (a: TransportAddress, b: TransportAddress): boolean => formatTransport(a) === formatTransport(b)
const sameFamily = (a: TransportAddress, b: TransportAddress): boolean => isIpv4(a.address) === isIpv4(b.address)
const hostOf = ({ address }: TransportAddress): string => formatTransport({ address, port: 0 })
