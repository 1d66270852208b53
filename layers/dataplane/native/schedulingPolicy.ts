/**
 * How the kernel schedules the packet worker (sched(7)). With little to do it is a real-time thread (SCHED_RR): a packet
 * that comes while another thread holds its processor does not wait for that one's turn to end, up to 4 ms. When busy it
 * is an ordinary thread, which leaves the others their turns and finds packets in batches when it gets its own.
 */
import { libc } from "./ffi.ts"
import type { NativeMemory } from "./memory.ts"

/** Decides anew, `now` in milliseconds, and yields whether it is a real-time thread. To be called at every turn. */
export type SchedulingPolicy = (now: number) => boolean

/** The thread that is scheduled. */
export interface ScheduledThread {
  /** Processor time that it has used, in milliseconds, fractions included. */
  readonly used: () => number
  /** Makes it a real-time thread or an ordinary one; false when the system refuses. */
  readonly setRealTime: (realTime: boolean) => boolean
}

/** The share of a processor is taken over at least this long. */
const windowMs = 50
/**
 * Below the first share it becomes a real-time thread, from the second on an ordinary one. 500 pings a second take 3 to
 * 4 %. Above 10 % a thread that is woken for each datagram takes up to twice the processor time (300 Mbit/s).
 */
const quiet = 0.05
const busy = 0.08

/** A system that refuses real time once (no CAP_SYS_NICE, say) is not asked again. */
export const makeSchedulingPolicy = ({ setRealTime, used }: ScheduledThread, start: number): SchedulingPolicy => {
  let realTime = false
  let permitted = true
  let since = start
  let usedBefore = used()
  return (now) => {
    if (now < since + windowMs) return realTime
    const total = used()
    const share = (total - usedBefore) / (now - since)
    since = now
    usedBefore = total
    if (realTime) {
      if (share >= busy) realTime = !setRealTime(false)
    } else if (permitted && share < quiet) {
      realTime = setRealTime(true)
      permitted = realTime
    }
    return realTime
  }
}

/** The calling thread, by way of 16 bytes of the arena, which it reserves. */
export const thisThread = ({ arena, base }: NativeMemory): ScheduledThread => {
  const at = arena.reserve(16)
  const view = new DataView(arena.bytes.buffer, arena.bytes.byteOffset)
  return {
    used: () => {
      // It cannot fail on any kernel since 2.6.12.
      libc.clock_gettime(CLOCK_THREAD_CPUTIME_ID, base + at)
      return view.getUint32(at, true) * 1_000 + view.getUint32(at + 8, true) / 1_000_000
    },
    setRealTime: (realTime) => {
      view.setInt32(at, realTime ? lowestRealTime : 0, true)
      const policy = (realTime ? SCHED_RR : SCHED_OTHER) | SCHED_RESET_ON_FORK
      return libc.sched_setscheduler(0, policy, base + at) === 0
    }
  }
}

const CLOCK_THREAD_CPUTIME_ID = 3
const SCHED_OTHER = 0
const SCHED_RR = 2
/** What this thread starts stays ordinary. For both policies: without privileges it cannot be taken back. */
const SCHED_RESET_ON_FORK = 0x4000_0000
/** Priority 1 of 99. */
const lowestRealTime = 1
