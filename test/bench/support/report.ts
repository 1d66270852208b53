/** How every bench says what it measured: a small table, or one JSON document with `--json`; `--record FILE` keeps it. */
import process from "node:process"
import { record } from "./record.ts"

export interface Measure {
  readonly name: string
  readonly value: number
  readonly unit: string
  /** The value must not be greater. */
  readonly target?: number
  /** The value must not be less. */
  readonly atLeast?: number
}

/** The value below which `share` (0 to 1) of the sorted numbers lie. */
export const percentile = (sorted: ReadonlyArray<number>, share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN

/** The median of sorted numbers. */
export const middle = (sorted: ReadonlyArray<number>): number | undefined =>
  sorted.length === 0 ? undefined : (sorted[(sorted.length - 1) >> 1]! + sorted[sorted.length >> 1]!) / 2

/** p50, p90, p99 and the maximum of times in milliseconds; a target is for p99. */
export const latencies = (name: string, times: ReadonlyArray<number>, target?: number): ReadonlyArray<Measure> => {
  const sorted = times.toSorted((a, b) => a - b)
  return [
    { name: `${name}, p50`, value: percentile(sorted, 0.5), unit: "ms" },
    { name: `${name}, p90`, value: percentile(sorted, 0.9), unit: "ms" },
    { name: `${name}, p99`, value: percentile(sorted, 0.99), unit: "ms", ...(target === undefined ? {} : { target }) },
    { name: `${name}, max`, value: sorted.at(-1) ?? Number.NaN, unit: "ms" }
  ]
}

/** Rates shall be high, whatever else there is low. */
const badSide = ({ atLeast, unit }: Measure): "low" | "high" =>
  atLeast !== undefined || unit.endsWith("/s") ? "low" : "high"

export const report = (title: string, measures: ReadonlyArray<Measure>): void => {
  record(
    title,
    null,
    measures.map((measure) => ({
      name: measure.name,
      unit: measure.unit,
      value: measure.value,
      bad: badSide(measure)
    }))
  )
  if (process.argv.includes("--json")) {
    process.stdout.write(`${JSON.stringify({ title, measures })}\n`)
    return
  }
  const rows = measures.map(({ atLeast, name, target, unit, value }) => [
    name,
    value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 2 : value < 1_000 ? 1 : 0 }),
    unit,
    target !== undefined
      ? `${value <= target ? "ok" : "MISSED"} (≤ ${target.toLocaleString("en")})`
      : atLeast !== undefined
        ? `${value >= atLeast ? "ok" : "MISSED"} (≥ ${atLeast.toLocaleString("en")})`
        : ""
  ])
  const width = (column: number): number => Math.max(...rows.map((row) => row[column]!.length))
  const [names, values, units] = [width(0), width(1), width(2)]
  process.stdout.write(`${title}\n`)
  for (const [name, value, unit, verdict] of rows) {
    process.stdout.write(`  ${name!.padEnd(names)}  ${value!.padStart(values)} ${unit!.padEnd(units)}  ${verdict}\n`)
  }
}

/** An option that is a word, such as `--old HEAD~1`. */
export const word = (name: string, otherwise: string): string => {
  const at = process.argv.indexOf(`--${name}`)
  return at < 0 ? otherwise : (process.argv[at + 1] ?? "")
}

/** A numeric option such as `--rate 200`. */
export const option = (name: string, otherwise: number): number => {
  const at = process.argv.indexOf(`--${name}`)
  const value = at < 0 ? otherwise : Number(process.argv[at + 1])
  if (!Number.isFinite(value)) throw new Error(`--${name} wants a number`)
  return value
}
