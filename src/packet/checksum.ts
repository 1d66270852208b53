/**
 * The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
 * Sums are one's-complement sums of big-endian 16-bit words, folded to 16 bits.
 */

/** One's-complement sum over `length` bytes at `offset`, starting from `initial`; folded, not inverted. */
export type Checksum = (offset: number, length: number, initial: number) => number
