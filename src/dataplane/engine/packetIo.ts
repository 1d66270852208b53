/**
 * How the engine reaches UDP and the TUN device: non-blocking calls over arena offsets. One
 * implementation does system calls, one moves bytes between simulated hosts in tests.
 */
import type { Endpoint } from "../../packet/endpoint.ts"

export interface PacketIo {
  /**
   * Receives into arena[offset, offset+capacity) and fills `from`. Returns the byte count, 0 when nothing waits.
   * The bytes are one datagram, or several of `segmentSize()` bytes each (the last may be shorter).
   */
  readonly receive: (offset: number, capacity: number, from: Endpoint) => number
  /** Datagram size within the last `receive`; equal to its byte count when it was one datagram. */
  readonly segmentSize: () => number
  /** Sends arena[offset, offset+length) as datagrams of `segmentSize` bytes. False: dropped by the system (counted). */
  readonly send: (to: Readonly<Endpoint>, offset: number, length: number, segmentSize: number) => boolean
  /** Reads one IP packet from the TUN device; 0 when nothing waits. */
  readonly readTun: (offset: number, capacity: number) => number
  /** Writes one IP packet to the TUN device. False: dropped by the system (counted). */
  readonly writeTun: (offset: number, length: number) => boolean
}
