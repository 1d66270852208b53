/** Packets towards a client that wait for its WireGuard session: few, copied, and given up after a while. */
const maxPackets = 16
const maxAgeMs = 5_000

export class Stage {
  private packets: Array<{ readonly bytes: Uint8Array; readonly at: number }> = []

  /** False when full: the packet is dropped. */
  put(bytes: Uint8Array, offset: number, length: number, now: number): boolean {
    if (this.packets.length > 0 && now - this.packets[0]!.at > maxAgeMs) {
      this.packets = this.packets.filter((p) => now - p.at <= maxAgeMs)
    }
    if (this.packets.length >= maxPackets) return false
    this.packets.push({ bytes: bytes.slice(offset, offset + length), at: now })
    return true
  }

  clear(): void {
    this.packets = []
  }

  get isEmpty(): boolean {
    return this.packets.length === 0
  }

  /** Everything still fresh, in order; the stage is empty afterwards. */
  take(now: number): ReadonlyArray<Uint8Array> {
    const fresh = this.packets.filter((p) => now - p.at <= maxAgeMs).map((p) => p.bytes)
    this.packets = []
    return fresh
  }
}
