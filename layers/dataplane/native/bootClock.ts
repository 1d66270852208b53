/**
 * The packet worker's clock. Node's monotonic clock stands still while the host sleeps (CLOCK_MONOTONIC): keys would be
 * used, and flows and relays believed in, for that much longer. This one goes on (CLOCK_BOOTTIME, clock_gettime(2)).
 */
import type { NativeMemory } from "./memory.ts"
import { libc } from "./ffi.ts"

export interface BootClock {
  /** Milliseconds, fractions included; never goes back. */
  readonly now: () => number
  /** Finds out whether the host has slept since the last look. */
  readonly look: () => void
}

/** The two clocks are not read at the same moment: less than this is no sleep. */
const shortestSleepMs = 1_000

/** `monotonic` without sleep and `boot` with it, both in milliseconds from any origin; the result has `monotonic`'s. */
export const makeBootClock = (monotonic: () => number, boot: () => number): BootClock => {
  const offset = boot() - monotonic()
  let slept = 0
  return {
    now: () => monotonic() + slept,
    look: () => {
      const longer = boot() - monotonic() - offset
      if (longer - slept >= shortestSleepMs) slept = longer
    }
  }
}

/** Reads CLOCK_BOOTTIME by way of 16 bytes of the arena, which it reserves. */
export const makeBootTime = ({ arena, base }: NativeMemory): (() => number) => {
  const at = arena.reserve(16)
  const view = new DataView(arena.bytes.buffer, arena.bytes.byteOffset)
  return () => {
    // It cannot fail on any kernel since 2.6.39; without it there is no sleep to know of.
    if (libc.clock_gettime(CLOCK_BOOTTIME, base + at) < 0) return performance.now()
    const seconds = view.getUint32(at + 4, true) * 0x1_0000_0000 + view.getUint32(at, true)
    return seconds * 1_000 + view.getUint32(at + 8, true) / 1_000_000
  }
}

const CLOCK_BOOTTIME = 7
