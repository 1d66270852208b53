/**
 * A `PacketIo` whose UDP socket and TUN device are queues: what a test (or a simulated network) puts in, the engine
 * reads; what the engine sends is handed to callbacks as copies.
 */
import type { PacketIo } from "../../src/dataplane/engine/packetIo.ts"
import { makeVirtioHeader, type VirtioHeader } from "../../src/dataplane/offload/virtioHeader.ts"
import type { Arena } from "../../src/packet/arena.ts"
import { copyEndpoint, type Endpoint, makeEndpoint } from "../../src/packet/endpoint.ts"

export interface MemoryPacketIo extends PacketIo {
  /** A datagram arrives at the gateway's socket. */
  readonly arrive: (from: Readonly<Endpoint>, datagram: Uint8Array, trafficClass?: number) => void
  /** Several of one size (the last may be shorter) arrive as one read. */
  readonly arriveTogether: (from: Readonly<Endpoint>, datagrams: ReadonlyArray<Uint8Array>) => void
  /** The gateway's kernel routes a packet into the TUN device; with a header, one that it has not finished. */
  readonly routeIn: (packet: Uint8Array, header?: Readonly<VirtioHeader>) => void
  /** True when nothing waits to be read. */
  readonly isIdle: () => boolean
}

export const makeMemoryPacketIo = (
  arena: Arena,
  on: {
    readonly datagram: (to: Endpoint, datagram: Uint8Array, trafficClass: number) => void
    /** One call of `send`: one datagram, or a batch. Comes before its datagrams. */
    readonly batch?: (to: Endpoint, datagrams: ReadonlyArray<Uint8Array>) => void
    /** One write to the device: a packet, or a super-packet if the header says so. */
    readonly packet: (packet: Uint8Array, header: Readonly<VirtioHeader>) => void
  }
): MemoryPacketIo => {
  const datagrams: Array<{
    readonly from: Endpoint
    readonly bytes: Uint8Array
    readonly size: number
    readonly trafficClass: number
  }> = []
  const packets: Array<{ readonly bytes: Uint8Array; readonly header: Readonly<VirtioHeader> }> = []
  const plain = makeVirtioHeader()
  const tunHeader = makeVirtioHeader()
  let segment = 0
  let trafficClass = 0
  const copyOf = (endpoint: Readonly<Endpoint>): Endpoint => {
    const copy = makeEndpoint()
    copyEndpoint(endpoint, copy)
    return copy
  }
  return {
    arrive: (from, datagram, arrivedClass = 0) =>
      void datagrams.push({
        from: copyOf(from),
        bytes: datagram.slice(),
        size: datagram.length,
        trafficClass: arrivedClass
      }),
    arriveTogether: (from, together) =>
      void datagrams.push({
        from: copyOf(from),
        bytes: new Uint8Array(Buffer.concat(together)),
        size: together[0]?.length ?? 0,
        trafficClass: 0
      }),
    routeIn: (packet, header = plain) => void packets.push({ bytes: packet.slice(), header: { ...header } }),
    isIdle: () => datagrams.length === 0 && packets.length === 0,
    receive: (offset, capacity, from) => {
      const next = datagrams.shift()
      if (next === undefined) return 0
      const length = Math.min(next.bytes.length, capacity)
      arena.bytes.set(next.bytes.subarray(0, length), offset)
      copyEndpoint(next.from, from)
      segment = Math.min(next.size, length)
      trafficClass = next.trafficClass
      return length
    },
    shedHandshakes: () => {},
    segmentSize: () => segment,
    trafficClass: () => trafficClass,
    send: (to, offset, length, segmentSize, sentClass) => {
      const batch: Array<Uint8Array> = []
      for (let at = 0; at < length; at += segmentSize) {
        batch.push(arena.bytes.slice(offset + at, offset + Math.min(at + segmentSize, length)))
      }
      on.batch?.(copyOf(to), batch)
      for (const datagram of batch) on.datagram(copyOf(to), datagram, sentClass)
      return true
    },
    readTun: (offset, capacity) => {
      const next = packets.shift()
      if (next === undefined) return 0
      const length = Math.min(next.bytes.length, capacity)
      arena.bytes.set(next.bytes.subarray(0, length), offset)
      Object.assign(tunHeader, next.header)
      return length
    },
    tunHeader,
    writeGathered: ({ header, lengths, offsets, parts }) => {
      const pieces = Array.from({ length: parts }, (_, i) => arena.bytes.slice(offsets[i], offsets[i]! + lengths[i]!))
      on.packet(new Uint8Array(Buffer.concat(pieces)), { ...header })
      return true
    },
    writeTun: (offset, length) => {
      on.packet(arena.bytes.slice(offset, offset + length), { ...plain })
      return true
    }
  }
}
