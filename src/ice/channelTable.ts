/**
 * Relayed paths by number. A channel (RFC 8656 §12) is one peer behind one relay; everybody else names it by its
 * handle, a number that fits an endpoint's `channel` (0 means direct). A handle is a slot plus the generation of that
 * slot: one that outlived its channel finds nothing, and never another peer.
 */
import { write16 } from "../packet/bytes.ts"
import type { Endpoint } from "../packet/endpoint.ts"
import type { TransportAddress } from "../packet/transportAddress.ts"

/** Channel number and payload length, both 16 bits. Over UDP nothing is padded. */
export const channelHeaderLength = 4
export const firstChannelNumber = 0x4000
export const lastChannelNumber = 0x4fff

export interface Channel {
  /** Above 0, and as long as this channel lives no other's. */
  readonly handle: number
  /** 0x4000..0x4FFF, at this relay only. */
  readonly number: number
  /** Whom the relay talks to for us. */
  readonly peer: TransportAddress
  /** Our address as the peer sees it. */
  readonly relayed: TransportAddress
  /** Where ChannelData goes; the local side is left to the kernel, as for all requests to the relay. */
  readonly server: Readonly<Endpoint>
  /**
   * Whether the relay has confirmed the binding. Before that, what is sent through it is lost when it overtakes the
   * request, and at a relay that refuses.
   */
  bound: boolean
  /** Data went out or came in since the last look: set by whoever sends and receives, else the channel expires. */
  sent: boolean
  received: boolean
}

/** All channels of all relays. */
export class ChannelTable {
  private readonly channels: Array<Channel | undefined>
  private readonly generations: Uint32Array
  /** A queue, so that a slot rests as long as possible. */
  private readonly free: Uint16Array
  private head = 0
  private count: number

  /** `capacity`: at most 65,536. */
  constructor(capacity: number = defaultCapacity) {
    if (capacity < 1 || capacity > slots) throw new RangeError(`capacity ${capacity} is not in 1..${slots}`)
    this.channels = Array.from({ length: capacity })
    this.generations = new Uint32Array(capacity).fill(1)
    this.free = Uint16Array.from({ length: capacity }, (_, slot) => slot)
    this.count = capacity
  }

  get size(): number {
    return this.channels.length - this.count
  }

  /** The channel that the handle was given for, `undefined` when it is no more. Any number is safe. */
  get(handle: number): Channel | undefined {
    const channel = this.channels[handle & slotMask]
    return channel?.handle === handle ? channel : undefined
  }

  /** `undefined` when full. */
  add(
    number: number,
    peer: TransportAddress,
    relayed: TransportAddress,
    server: Readonly<Endpoint>
  ): Channel | undefined {
    if (this.count === 0) return undefined
    const slot = this.free[this.head]!
    this.head = (this.head + 1) % this.free.length
    this.count--
    const channel: Channel = {
      handle: this.generations[slot]! * slots + slot,
      number,
      peer,
      relayed,
      server,
      bound: false,
      sent: false,
      received: false
    }
    this.channels[slot] = channel
    return channel
  }

  /** From now on the handle finds nothing. */
  remove(channel: Channel): void {
    if (this.get(channel.handle) === undefined) return
    const slot = channel.handle & slotMask
    this.channels[slot] = undefined
    this.generations[slot] = (this.generations[slot]! % lastGeneration) + 1
    this.free[(this.head + this.count) % this.free.length] = slot
    this.count++
  }
}

/** Writes the header right before a payload of `length` bytes. */
export const writeChannelHeader = (bytes: Uint8Array, at: number, number: number, length: number): void => {
  write16(bytes, at, number)
  write16(bytes, at + 2, length)
}

/** ChannelData as opposed to STUN and WireGuard, by a datagram's first byte. */
export const isChannelData = (firstByte: number): boolean => firstByte >= 0x40 && firstByte <= 0x4f

const slots = 0x1_0000
const slotMask = slots - 1
const defaultCapacity = 16_384
/** Handles stay positive 31-bit numbers, which an Int32Array and a small integer hold. */
const lastGeneration = 0x7fff
