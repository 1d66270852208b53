/**
 * A `PacketIo` whose UDP socket and TUN device are queues: what a test (or a simulated network) puts in, the engine
 * reads; what the engine sends is handed to callbacks as copies.
 */
import type { PacketIo } from "../src/dataplane/engine/packetIo.ts"
import { makeVirtioHeader } from "../src/dataplane/offload/virtioHeader.ts"
import type { Arena } from "../src/packet/arena.ts"
import { copyEndpoint, type Endpoint, makeEndpoint } from "../src/packet/endpoint.ts"

export interface MemoryPacketIo extends PacketIo {
  /** A datagram arrives at the gateway's socket. */
  readonly arrive: (from: Readonly<Endpoint>, datagram: Uint8Array) => void
  /** The gateway's kernel routes a packet into the TUN device. */
  readonly routeIn: (packet: Uint8Array) => void
  /** True when nothing waits to be read. */
  readonly isIdle: () => boolean
}

export const makeMemoryPacketIo = (
  arena: Arena,
  on: {
    readonly datagram: (to: Endpoint, datagram: Uint8Array) => void
    readonly packet: (packet: Uint8Array) => void
  }
): MemoryPacketIo => {
  const datagrams: Array<{ readonly from: Endpoint; readonly bytes: Uint8Array }> = []
  const packets: Array<Uint8Array> = []
  let segment = 0
  const copyOf = (endpoint: Readonly<Endpoint>): Endpoint => {
    const copy = makeEndpoint()
    copyEndpoint(endpoint, copy)
    return copy
  }
  return {
    arrive: (from, datagram) => void datagrams.push({ from: copyOf(from), bytes: datagram.slice() }),
    routeIn: (packet) => void packets.push(packet.slice()),
    isIdle: () => datagrams.length === 0 && packets.length === 0,
    receive: (offset, capacity, from) => {
      const next = datagrams.shift()
      if (next === undefined) return 0
      const length = Math.min(next.bytes.length, capacity)
      arena.bytes.set(next.bytes.subarray(0, length), offset)
      copyEndpoint(next.from, from)
      segment = length
      return length
    },
    segmentSize: () => segment,
    send: (to, offset, length, segmentSize) => {
      for (let at = 0; at < length; at += segmentSize) {
        on.datagram(copyOf(to), arena.bytes.slice(offset + at, offset + Math.min(at + segmentSize, length)))
      }
      return true
    },
    readTun: (offset, capacity) => {
      const next = packets.shift()
      if (next === undefined) return 0
      const length = Math.min(next.length, capacity)
      arena.bytes.set(next.subarray(0, length), offset)
      return length
    },
    tunHeader: makeVirtioHeader(),
    writeGathered: ({ lengths, offsets, parts }) => {
      const pieces = Array.from({ length: parts }, (_, i) => arena.bytes.slice(offsets[i]!, offsets[i]! + lengths[i]!))
      on.packet(new Uint8Array(Buffer.concat(pieces)))
      return true
    },
    writeTun: (offset, length) => {
      on.packet(arena.bytes.slice(offset, offset + length))
      return true
    }
  }
}
