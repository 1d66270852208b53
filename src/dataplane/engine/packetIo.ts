/**
 * How the engine reaches UDP and the TUN device: non-blocking calls over arena offsets. One
 * implementation does system calls, one moves bytes between simulated hosts in tests.
 */
import type { Gathered } from "../offload/coalescer.ts"
import type { VirtioHeader } from "../offload/virtioHeader.ts"
import type { Endpoint } from "../../packet/endpoint.ts"

export const maxShedLevel = 6

export interface PacketIo {
  /**
   * Receives into arena[offset, offset+capacity) and fills `from`. Returns the byte count, 0 when nothing waits.
   * The bytes are one datagram, or several of `segmentSize()` bytes each (the last may be shorter).
   */
  readonly receive: (offset: number, capacity: number, from: Endpoint) => number
  /**
   * Lets the system drop handshake messages unread, all but one in 2^`level`: who cannot keep up has data waiting behind
   * them. 0: none is dropped. At most `maxShedLevel`.
   */
  readonly shedHandshakes: (level: number) => void
  /** Datagram size within the last `receive`; equal to its byte count when it was one datagram. */
  readonly segmentSize: () => number
  /** Traffic class of the last `receive`, all of its datagrams alike: six bits of DSCP, two of ECN. */
  readonly trafficClass: () => number
  /**
   * Sends arena[offset, offset+length) as datagrams of `segmentSize` bytes under a traffic class. False: dropped by the
   * system (counted).
   */
  readonly send: (
    to: Readonly<Endpoint>,
    offset: number,
    length: number,
    segmentSize: number,
    trafficClass: number
  ) => boolean
  /**
   * Reads one IP packet, or a super-packet, from the TUN device; 0 when nothing waits. `tunHeader` then tells what the
   * kernel left undone. The ten bytes before `offset` may be overwritten.
   */
  readonly readTun: (offset: number, capacity: number) => number
  readonly tunHeader: Readonly<VirtioHeader>
  /** Writes one IP packet to the TUN device. False: dropped by the system (counted). */
  readonly writeTun: (offset: number, length: number) => boolean
  /** Writes a packet, or a super-packet made of several parts, to the TUN device. */
  readonly writeGathered: (gathered: Readonly<Gathered>) => boolean
}
