/** Handshake messages that wait for their public-key work: a ring of fixed size, copied out of the arena. */
import { copyEndpoint, type Endpoint, makeEndpoint } from "../packet/endpoint.ts"
import type { OwnKey } from "./OwnKey.ts"
import { initiationLength } from "./protocol.ts"

export class HandshakeQueue {
  /** The message of the last `take`, the key of ours that it is for, and its source. */
  message: Uint8Array
  key!: OwnKey
  from: Endpoint = makeEndpoint()
  private readonly bytes: Uint8Array
  private readonly lengths: Uint16Array
  private readonly keys: Array<OwnKey> = []
  private readonly sources: Array<Endpoint> = []
  private readonly capacity: number
  private head = 0
  private count = 0

  constructor(capacity: number) {
    this.capacity = capacity
    this.bytes = new Uint8Array(capacity * initiationLength)
    this.lengths = new Uint16Array(capacity)
    this.message = this.bytes.subarray(0, 0)
  }

  get size(): number {
    return this.count
  }

  /** Copies a message of at most 148 bytes; false when the queue is full. */
  put(message: Uint8Array, key: OwnKey, from: Readonly<Endpoint>): boolean {
    if (this.count === this.capacity) return false
    const slot = (this.head + this.count) % this.capacity
    this.bytes.set(message, slot * initiationLength)
    this.lengths[slot] = message.length
    this.keys[slot] = key
    if (slot === this.sources.length) this.sources.push(makeEndpoint())
    copyEndpoint(from, this.sources[slot]!)
    this.count++
    return true
  }

  /** Moves the oldest message to `message`, `key` and `from` (valid until the next `put`); false when there is none. */
  take(): boolean {
    if (this.count === 0) return false
    const start = this.head * initiationLength
    this.message = this.bytes.subarray(start, start + this.lengths[this.head]!)
    this.key = this.keys[this.head]!
    this.from = this.sources[this.head]!
    this.head = (this.head + 1) % this.capacity
    this.count--
    return true
  }
}
