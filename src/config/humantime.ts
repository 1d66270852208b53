/** Durations as people write them: `24h`, `15min`, `1day 2h 30m`; a number alone is nothing. */

/** Milliseconds; `undefined` when the text is no duration. */
export const parseHumantime = (text: string): number | undefined => {
  const trimmed = text.trim()
  if (trimmed.length > 100 || !/^(?:\d+\s*[a-zA-Zµ]+\s*)+$/.test(trimmed)) return undefined
  let sum = 0
  for (const [, count, unit] of trimmed.matchAll(/(\d+)\s*([a-zA-Zµ]+)/g)) {
    const size = Object.hasOwn(units, unit!) ? units[unit!] : undefined
    if (size === undefined) return undefined
    sum += Number(count) * size
  }
  return Number.isFinite(sum) && sum <= Number.MAX_SAFE_INTEGER ? Math.round(sum) : undefined
}

const second = 1_000
const day = 86_400_000

const units: Readonly<Record<string, number>> = {
  ...named(1e-6, "ns", "nsec", "nanos"),
  ...named(1e-3, "us", "µs", "usec", "micros"),
  ...named(1, "ms", "msec", "millis"),
  ...named(second, "s", "sec", "secs", "second", "seconds"),
  ...named(60 * second, "m", "min", "mins", "minute", "minutes"),
  ...named(3_600 * second, "h", "hr", "hrs", "hour", "hours"),
  ...named(day, "d", "day", "days"),
  ...named(7 * day, "w", "week", "weeks"),
  ...named(30.44 * day, "M", "month", "months"),
  ...named(365.25 * day, "y", "year", "years")
}

function named(size: number, ...names: ReadonlyArray<string>): Record<string, number> {
  return Object.fromEntries(names.map((name) => [name, size]))
}
