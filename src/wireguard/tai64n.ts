/**
 * TAI64N labels (https://cr.yp.to/libtai/tai64.html): 8 bytes of seconds and 4 of nanoseconds, big-endian, so that
 * byte order is time order. A clock is given as whole ticks of 2^24 ns (16.8 ms), which hides the exact time.
 */

export const tai64nLength = 12

/** The tick that `wall` (epoch milliseconds) falls into. */
export const tickOf = (wall: number): number =>
  // A tick is 2^18 / 15625 ms. In two parts: the product of the whole would exceed the safe integers.
  Math.floor(wall / 0x4_0000) * 15_625 + Math.floor(((wall % 0x4_0000) * 15_625) / 0x4_0000)

/** Writes the label of a tick (0 is 1970) to out[offset, offset+12). */
export const writeTick = (tick: number, out: Uint8Array, offset: number): void => {
  // Split at 2^20 ticks: a product of the whole would exceed the safe integers.
  const high = Math.floor(tick / 0x10_0000)
  const low = tick % 0x10_0000
  const coarse = high * coarseSeconds
  const fine = high * coarseNanos + low * tickNanos
  const seconds = coarse + Math.floor(fine / 1e9) + leapSeconds
  out[offset] = 0x40
  out[offset + 1] = 0
  out[offset + 2] = 0
  out[offset + 3] = Math.floor(seconds / 0x1_0000_0000)
  writeBig(out, offset + 4, seconds % 0x1_0000_0000)
  writeBig(out, offset + 8, fine % 1e9)
}

/** Epoch milliseconds of a label, at most a millisecond early. */
export const millisOf = (label: Uint8Array): number => {
  const seconds = readBig(label, 4) + (label[3]! + (label[2]! + label[1]! * 256) * 256) * 0x1_0000_0000
  return (seconds - leapSeconds) * 1_000 + Math.floor(readBig(label, 8) / 1e6)
}

/** True when label `a` is later than label `b`. */
export const isLater = (a: Uint8Array, b: Uint8Array): boolean => {
  for (let i = 0; i < tai64nLength; i++) {
    if (a[i] !== b[i]) return a[i]! > b[i]!
  }
  return false
}

const tickNanos = 0x100_0000
/** 2^20 ticks are 2^44 ns: 17,592 s and 186,044,416 ns. */
const coarseSeconds = 17_592
const coarseNanos = 186_044_416
/** The offset every WireGuard implementation uses. */
const leapSeconds = 10

const readBig = (bytes: Uint8Array, offset: number): number =>
  bytes[offset]! * 0x100_0000 + ((bytes[offset + 1]! << 16) | (bytes[offset + 2]! << 8) | bytes[offset + 3]!)

const writeBig = (out: Uint8Array, offset: number, value: number): void => {
  out[offset] = value >>> 24
  out[offset + 1] = value >>> 16
  out[offset + 2] = value >>> 8
  out[offset + 3] = value
}
