/** A clock and timers for state machines that ask both of `Outside`, moved by hand. */
export const makeTimers = () => {
  let now = 10_000
  const pending: Array<{ readonly at: number; readonly run: () => void }> = []
  return {
    /** Monotonic milliseconds. */
    now: () => now,
    wake: (delay: number, run: () => void): void => void pending.push({ at: now + delay, run }),
    /** Milliseconds until each fires. */
    pending: (): ReadonlyArray<number> => pending.map(({ at }) => at - now),
    pass: (ms: number): void => {
      const until = now + ms
      for (;;) {
        const next = pending.toSorted((a, b) => a.at - b.at)[0]
        if (next === undefined || next.at > until) break
        pending.splice(pending.indexOf(next), 1)
        now = next.at
        next.run()
      }
      now = until
    }
  }
}
