/** Which destinations do not take batches (UDP GSO): their route's MTU is too small, say. Bounded, and not for ever. */
import { equal, type Words } from "../../../src/packet/address.ts"
import type { Endpoint } from "../../../src/packet/endpoint.ts"

/** As many are remembered; with one more, no destination is asked for a while. */
const capacity = 64
/** Batches sent singly before the next one is tried again, since routes change. */
export const untilRetry = 4_096

export class BatchRefusals {
  private readonly entries: Array<{ readonly remote: Words; readonly port: number; skipped: number }> = []
  /** Batches still to be sent singly, whatever their destination. */
  private suspended = 0

  /** Whether a batch for this destination is better not tried. Counts as one that was not. */
  applies(to: Readonly<Endpoint>): boolean {
    if (this.suspended > 0) {
      this.suspended--
      return true
    }
    const { entries } = this
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i]!
      if (entry.port !== to.port || !equal(entry.remote, to.remote)) continue
      if (++entry.skipped < untilRetry) return true
      entries.splice(i, 1)
      return false
    }
    return false
  }

  add(to: Readonly<Endpoint>): void {
    if (this.entries.length < capacity) {
      this.entries.push({ remote: { ...to.remote }, port: to.port, skipped: 0 })
      return
    }
    // So many refuse that it is not for their sake: the network card cannot do it, say.
    this.entries.length = 0
    this.suspended = untilRetry
  }
}
