/**
 * Sliding replay window (RFC 6479 layout): remembers the last 8,192 counters of one receiving key. Use in two halves:
 * `isFresh` before decryption, `mark` only after the packet proved authentic.
 */
const windowSize = 8192

export class ReplayWindow {
  private readonly bits = new Int32Array(words)
  private top = -1

  /** True when `counter` is inside or above the window and was never marked. */
  isFresh(counter: number): boolean {
    if (counter > this.top) return true
    if (counter <= this.top - windowSize) return false
    return (this.bits[slotOf(counter)]! & (1 << (counter & 31))) === 0
  }

  /** Records an authentic counter for which `isFresh` just held. */
  mark(counter: number): void {
    const { bits } = this
    const slot = slotOf(counter)
    if (counter > this.top) {
      // At most one round of the ring word by word: the last word reached must not be the one that it began at.
      if (counter - this.top > ringBits - 32) bits.fill(0)
      else for (let s = slotOf(this.top); s !== slot;) bits[(s = (s + 1) & (words - 1))] = 0
      this.top = counter
    }
    bits[slot]! |= 1 << (counter & 31)
  }
}

/** More than the window needs: a power of two, so that a place in the ring is a matter of bits. */
const words = 512
const ringBits = words * 32

/** The conversion to 32 bits is exact for all safe integers: modulo 2^32, which the ring divides. */
const slotOf = (counter: number): number => ((counter | 0) >>> 5) & (words - 1)
