/**
 * All relays: which there are, which of them a datagram comes from, and the channels through them. Who uses which relay
 * is the caller's: it picks one per connection, and another one when that is lost.
 */
import type { Relay, RelayId } from "../model/Relay.ts"
import { WordsIndex } from "../nat/wordsIndex.ts"
import { isIpv4 } from "../packet/address.ts"
import { read16 } from "../packet/bytes.ts"
import type { Endpoint } from "../packet/endpoint.ts"
import { sameTransport, type TransportAddress, transportAddress } from "../packet/transportAddress.ts"
import { Allocation, type FailureReason } from "./Allocation.ts"
import { type Channel, channelHeaderLength, ChannelTable, isChannelData } from "./channelTable.ts"
import type { LearnedCandidate } from "./RelayAddress.ts"
import { looksLikeStun, parseStun } from "./stun.ts"

/** More are left out; a portal names two. */
const mostRelays = 8

/** A relay that does not answer for so long is given up, if another one did answer meanwhile. */
const relayPatience = 3_000

/** Told synchronously from within `set`, `receive` and `advance`. */
interface RelayEvents {
  /** A new address of ours, as this relay sees or made it. Several relays may find the same host or reflexive address. */
  readonly found: (relay: RelayId, candidate: LearnedCandidate) => void
  /** It is no more. Channels of a lost relayed address are gone already. */
  readonly lost: (relay: RelayId, candidate: LearnedCandidate) => void
  /** No relayed address until `found` tells one again; `Removed`: never. `left`: relays that have one. */
  readonly relayLost: (relay: RelayId, reason: FailureReason | "Removed", left: number) => void
  /** The relay now surely passes on what is sent: a check that got lost before may be repeated at once. */
  readonly channelBound: (channel: Channel) => void
  /** The relay will not talk to that peer. */
  readonly channelRefused: (channel: Channel) => void
}

export interface RelaysOptions {
  /** Those that we have a socket of at the time; relays' other addresses are left out. */
  readonly families: { readonly ipv4: boolean; readonly ipv6: boolean }
  readonly randomBytes: (out: Uint8Array) => void
  /** Sends a datagram from our socket; the kernel chooses the local address. */
  readonly transmit: (to: TransportAddress, bytes: Uint8Array) => void
  readonly events: RelayEvents
}

export class Relays {
  /** Every channel's handle, of all relays. */
  readonly channels: ChannelTable
  private readonly options: RelaysOptions
  private readonly slots: Array<Slot | undefined> = Array.from({ length: mostRelays })
  /** (port, address) → slot × 2 + index of the address. */
  private readonly servers = new WordsIndex()
  /** When a relay in doubt is to be judged. */
  private judgeAt = Infinity

  constructor(options: RelaysOptions, channels: ChannelTable = new ChannelTable()) {
    this.options = options
    this.channels = channels
  }

  /**
   * All relays from now on. One known by its id with the same addresses keeps its allocation; new credentials are used
   * when the old ones cease to work. Relays beyond the eighth, and addresses that another relay has, are left out.
   */
  set(relays: ReadonlyArray<Relay>, now: number): void {
    const wanted = new Map<RelayId, Slot["relay"]>()
    for (const { addresses, id, password, username } of relays) {
      const usable = this.usable(addresses)
      if (usable.length > 0 && wanted.size < mostRelays) wanted.set(id, { id, addresses: usable, username, password })
    }
    for (const [index, slot] of this.slots.entries()) {
      const next = slot === undefined ? undefined : wanted.get(slot.relay.id)
      if (slot !== undefined && (next === undefined || !sameAddresses(slot.relay.addresses, next.addresses))) {
        this.remove(index, slot)
      }
    }
    for (const relay of wanted.values()) {
      const known = this.find(relay.id)
      if (known === undefined) this.add(relay, now)
      else known.allocation.setCredentials(relay.username, relay.password, now)
    }
  }

  /** Whether a datagram from there may be a relay's. Constant time, without allocation. */
  isServer(from: Readonly<Endpoint>): boolean {
    return this.servers.size > 0 && this.servers.get(from.port, from.remote) >= 0
  }

  /**
   * The channel that a datagram of ChannelData came through, `undefined` for anything else. Its payload starts
   * `channelHeaderLength` bytes on and has `read16(bytes, offset + 2)` bytes, which are there. Constant time, without
   * allocation.
   */
  receiveData(bytes: Uint8Array, offset: number, length: number, from: Readonly<Endpoint>): Channel | undefined {
    if (length < channelHeaderLength || !isChannelData(bytes[offset]!)) return undefined
    const server = this.servers.get(from.port, from.remote)
    if (server < 0 || read16(bytes, offset + 2) > length - channelHeaderLength) return undefined
    const { allocation } = this.slots[server >> 1]!
    if (!allocation.isActive(server & 1)) return undefined
    const channel = allocation.channel(read16(bytes, offset))
    if (channel !== undefined) channel.received = true
    return channel
  }

  /**
   * A datagram that may be a relay's answer; true when it is one to a request of ours. `local`: where it arrived, with
   * our port; unspecified when unknown. Keeps nothing of `bytes`.
   */
  receive(
    bytes: Uint8Array,
    offset: number,
    length: number,
    from: TransportAddress,
    local: TransportAddress,
    now: number
  ): boolean {
    const server = this.servers.get(from.port, from.address)
    if (server < 0) return false
    const datagram = bytes.subarray(offset, offset + length)
    const message = looksLikeStun(datagram) ? parseStun(datagram) : undefined
    return message !== undefined && this.slots[server >> 1]!.allocation.receive(message, from, local, now)
  }

  /**
   * The handle of a channel through the relay to `peer`, a new one when there is none yet; 0 when the relay has no
   * address of that family now, refused the peer, or has no number left. Callers bound how many peers a client may name.
   */
  open(relay: RelayId, peer: TransportAddress, now: number): number {
    return this.find(relay)?.allocation.open(peer, now)?.handle ?? 0
  }

  /** All addresses that the relay gave or showed us and that are valid now. */
  candidates(relay: RelayId): ReadonlyArray<LearnedCandidate> {
    return this.find(relay)?.allocation.candidates ?? []
  }

  isAllocated(relay: RelayId): boolean {
    return this.find(relay)?.allocation.allocated ?? false
  }

  /** Relays that have a relayed address. */
  get allocated(): ReadonlyArray<RelayId> {
    return this.slots.filter((slot) => slot?.allocation.allocated === true).map((slot) => slot!.relay.id)
  }

  /** One of those that have a relayed address, by a random number in [0, 1). */
  pick(random: number): RelayId | undefined {
    const { allocated } = this
    return allocated[Math.floor(random * allocated.length)]
  }

  advance(now: number): void {
    const allocations = this.slots.flatMap((slot) => (slot === undefined ? [] : [slot.allocation]))
    for (const allocation of allocations) {
      const { doubtedAt } = allocation
      allocation.advance(now)
      if (doubtedAt < Infinity || allocation.doubtedAt === Infinity) continue
      // Whether it is the relay, or our own link.
      for (const other of allocations) if (other !== allocation) other.probe(now)
      this.judgeAt = Math.min(this.judgeAt, now + relayPatience)
    }
    if (now >= this.judgeAt) this.judge(allocations, now)
  }

  private judge(allocations: ReadonlyArray<Allocation>, now: number): void {
    this.judgeAt = Infinity
    for (const allocation of allocations) {
      const { doubtedAt } = allocation
      if (doubtedAt === Infinity) continue
      if (now < doubtedAt + relayPatience) this.judgeAt = Math.min(this.judgeAt, doubtedAt + relayPatience)
      else if (allocations.some((other) => other.allocated && other.heardAt >= doubtedAt)) allocation.giveUp(now)
    }
  }

  /** When `advance` has something to do next; Infinity for never. */
  nextDeadline(): number {
    let deadline = this.judgeAt
    for (const slot of this.slots) {
      if (slot !== undefined) deadline = Math.min(deadline, slot.allocation.nextDeadline())
    }
    return deadline
  }

  /** Gives all allocations back; nothing is told. */
  close(): void {
    for (const slot of this.slots) slot?.allocation.close()
    this.slots.fill(undefined)
    this.servers.clear()
  }

  private usable(addresses: Relay["addresses"]): ReadonlyArray<TransportAddress> {
    const parsed = addresses
      .map(({ address, port }) => transportAddress(address, port))
      .filter((address) => address !== undefined && address.port > 0)
      .filter((address) => address !== undefined)
    const { families } = this.options
    const v4 = families.ipv4 ? parsed.find(({ address }) => isIpv4(address)) : undefined
    const v6 = families.ipv6 ? parsed.find(({ address }) => !isIpv4(address)) : undefined
    return [v4, v6].filter((address) => address !== undefined)
  }

  private find(relay: RelayId): Slot | undefined {
    return this.slots.find((slot) => slot?.relay.id === relay)
  }

  private add(relay: Slot["relay"], now: number): void {
    const addresses = relay.addresses.filter(({ address, port }) => this.servers.get(port, address) < 0)
    const index = this.slots.indexOf(undefined)
    if (addresses.length === 0 || index < 0) return
    const { events, randomBytes, transmit } = this.options
    const allocation = new Allocation({
      addresses,
      username: relay.username,
      password: relay.password,
      table: this.channels,
      randomBytes,
      transmit,
      events: {
        found: (candidate) => events.found(relay.id, candidate),
        lost: (candidate) => events.lost(relay.id, candidate),
        failed: (reason) => events.relayLost(relay.id, reason, this.allocated.length),
        channelBound: events.channelBound,
        channelRefused: events.channelRefused
      }
    })
    this.slots[index] = { relay, allocation }
    for (const [i, { address, port }] of addresses.entries()) this.servers.set(port, address, index * 2 + i)
    allocation.start(now)
  }

  private remove(index: number, { allocation, relay }: Slot): void {
    const { candidates } = allocation
    this.slots[index] = undefined
    for (const { address, port } of relay.addresses) {
      if (this.servers.get(port, address) >> 1 === index) this.servers.delete(port, address)
    }
    allocation.close()
    for (const candidate of candidates) this.options.events.lost(relay.id, candidate)
    this.options.events.relayLost(relay.id, "Removed", this.allocated.length)
  }
}

interface Slot {
  readonly relay: {
    readonly id: RelayId
    readonly addresses: ReadonlyArray<TransportAddress>
    readonly username: string
    readonly password: string
  }
  readonly allocation: Allocation
}

const sameAddresses = (a: ReadonlyArray<TransportAddress>, b: ReadonlyArray<TransportAddress>): boolean =>
  a.length === b.length && a.every((address) => b.some((other) => sameTransport(address, other)))
