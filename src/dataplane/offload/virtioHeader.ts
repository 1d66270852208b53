/**
 * What the kernel says about a packet read from the TUN device, and what we say about one written to it: the virtio
 * network header (linux/virtio_net.h) as numbers. Mutable and reused.
 */
export interface VirtioHeader {
  /** The transport checksum field holds the folded pseudo-header sum only (VIRTIO_NET_HDR_F_NEEDS_CSUM). */
  partial: boolean
  /** Not `gsoNone`: a super-packet, to be cut into packets of `segmentSize` payload bytes each. */
  kind: GsoKind
  /** Bytes of IP and transport header together. */
  headerLength: number
  segmentSize: number
  /** Where the transport header starts, and where its checksum field is from there. */
  checksumStart: number
  checksumOffset: number
}

export type GsoKind = 0 | 1 | 4 | 5
export const gsoNone: GsoKind = 0
export const gsoTcp4: GsoKind = 1
export const gsoTcp6: GsoKind = 4
export const gsoUdp: GsoKind = 5

export const makeVirtioHeader = (): VirtioHeader => ({
  partial: false,
  kind: gsoNone,
  headerLength: 0,
  segmentSize: 0,
  checksumStart: 0,
  checksumOffset: 0
})

export const virtioHeaderLength = 10
const needsChecksum = 1
const ecnBit = 0x80

/** Reads the ten bytes at `at`. False when the kernel names a kind that was never asked for. */
export const readVirtioHeader = (bytes: Uint8Array, at: number, to: VirtioHeader): boolean => {
  const kind = bytes[at + 1]! & ~ecnBit
  if (kind !== gsoNone && kind !== gsoTcp4 && kind !== gsoTcp6 && kind !== gsoUdp) return false
  to.partial = (bytes[at]! & needsChecksum) !== 0
  to.kind = kind
  to.headerLength = little16(bytes, at + 2)
  to.segmentSize = little16(bytes, at + 4)
  to.checksumStart = little16(bytes, at + 6)
  to.checksumOffset = little16(bytes, at + 8)
  return true
}

export const writeVirtioHeader = (bytes: Uint8Array, at: number, from: Readonly<VirtioHeader>): void => {
  bytes[at] = from.partial ? needsChecksum : 0
  bytes[at + 1] = from.kind
  putLittle16(bytes, at + 2, from.headerLength)
  putLittle16(bytes, at + 4, from.segmentSize)
  putLittle16(bytes, at + 6, from.checksumStart)
  putLittle16(bytes, at + 8, from.checksumOffset)
}

const little16 = (bytes: Uint8Array, at: number): number => bytes[at]! | (bytes[at + 1]! << 8)

const putLittle16 = (bytes: Uint8Array, at: number, value: number): void => {
  bytes[at] = value
  bytes[at + 1] = value >>> 8
}
