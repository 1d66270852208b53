/**
 * Sliding replay window (RFC 6479 layout): remembers the last 8,192 counters of one receiving key. Use in two halves:
 * `isFresh` before decryption, `mark` only after the packet proved authentic.
 */
export const windowSize = 8192

export class ReplayWindow {
  private readonly bits = new Int32Array(words)
  private top = -1

  /** True when `counter` is inside or above the window and was never marked. */
  isFresh(counter: number): boolean {
    if (counter > this.top) return true
    if (counter <= this.top - windowSize) return false
    return (this.bits[Math.floor(counter / 32) % words]! & (1 << (counter % 32))) === 0
  }

  /** Records an authentic counter for which `isFresh` just held. */
  mark(counter: number): void {
    const word = Math.floor(counter / 32)
    if (counter > this.top) {
      const topWord = Math.floor(this.top / 32)
      const first = Math.max(topWord + 1, word - words + 1)
      for (let w = first; w <= word; w++) this.bits[w % words] = 0
      this.top = counter
    }
    const slot = word % words
    this.bits[slot] = this.bits[slot]! | (1 << (counter % 32))
  }
}

/** One word more than the window needs, because its ends rarely fall on word boundaries. */
const words = windowSize / 32 + 1
