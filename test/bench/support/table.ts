/** The results of a run: medians and spread per case and pair, ratios, targets; as one table and as one line of JSON. */
import { type Case, loopTargetMs, plainUserTarget } from "./cases.ts"
import type { Sample } from "./measure.ts"
import { type PairName, pairTitles } from "./pairs.ts"
import type { Figure } from "./record.ts"
import { middle, percentile } from "./report.ts"
import type { WireguardBinary } from "./wireguardBinary.ts"

export interface Measured {
  readonly case: Case
  readonly mtu: number
  readonly samples: Readonly<Partial<Record<PairName, ReadonlyArray<Sample>>>>
}

/** Medians over the rounds; of pings over all probes. */
interface Summary {
  readonly mibps?: number
  readonly spread?: readonly [number, number]
  readonly cpuPerGiB?: number
  readonly userPerGiB?: number
  readonly clientPerGiB?: number
  readonly loss?: number
  readonly p50?: number
  readonly p99?: number
  readonly max?: number
  readonly probes?: number
  readonly connectionsPerSecond?: number
  readonly loopP99?: number
}

interface Verdict {
  readonly what: string
  readonly met: boolean
}

export interface Row {
  readonly name: string
  readonly summaries: Readonly<Partial<Record<PairName, Summary>>>
  readonly ratio: {
    readonly throughput?: number
    readonly cpu?: number
    readonly mixed?: number
    readonly p99?: number
  }
  readonly verdicts: ReadonlyArray<Verdict>
}

export const summarize = ({ case: measured, mtu, samples }: Measured, comparable: boolean): Row => {
  const summaries = Object.fromEntries(
    Object.entries(samples).map(([pair, list]) => [pair, summary(list)])
  ) as Row["summaries"]
  const { mixed, peer, sallyport } = summaries
  const speed = (of: Summary | undefined): number | undefined => of?.connectionsPerSecond ?? of?.mibps
  const ratio = comparable
    ? {
        ...optional("throughput", over(speed(sallyport), speed(peer))),
        ...optional("cpu", over(sallyport?.cpuPerGiB, peer?.cpuPerGiB)),
        ...optional("mixed", over(speed(mixed), speed(peer))),
        ...optional("p99", over(sallyport?.p99, peer?.p99))
      }
    : {}
  return { name: `${measured.name}, MTU ${mtu}`, summaries, ratio, verdicts: judge(measured, summaries, ratio) }
}

const summary = (samples: ReadonlyArray<Sample>): Summary => {
  const of = (pick: (sample: Sample) => number | undefined): ReadonlyArray<number> =>
    samples.flatMap((sample) => pick(sample) ?? []).toSorted((a, b) => a - b)
  const speeds = of((s) => s.connectionsPerSecond ?? s.mibps)
  const times = samples.flatMap((s) => s.times ?? []).toSorted((a, b) => a - b)
  const median = (name: Exclude<keyof Summary, "spread">, pick: (sample: Sample) => number | undefined): Summary =>
    optional(name, middle(of(pick)))
  return {
    ...median("mibps", (s) => s.mibps),
    ...(speeds.length === 0 ? {} : { spread: [speeds[0]!, speeds.at(-1)!] as const }),
    ...median("cpuPerGiB", (s) => s.cpuPerGiB),
    ...median("userPerGiB", (s) => s.userPerGiB),
    ...median("clientPerGiB", (s) => s.clientPerGiB),
    ...median("loss", (s) => s.loss),
    ...median("connectionsPerSecond", (s) => s.connectionsPerSecond),
    ...median("loopP99", (s) => s.loopP99),
    ...(times.length === 0
      ? {}
      : { p50: percentile(times, 0.5), p99: percentile(times, 0.99), max: times.at(-1)!, probes: times.length })
  }
}

const judge = ({ targets }: Case, summaries: Row["summaries"], ratio: Row["ratio"]): ReadonlyArray<Verdict> => {
  const { copy, peer, sallyport } = summaries
  const verdicts: Array<Verdict> = []
  const atLeast = (what: string, value: number | undefined, target: number | undefined): void => {
    if (value === undefined || target === undefined) return
    verdicts.push({ what: `${what} ${round(value)} ≥ ${target}`, met: value >= target })
  }
  const atMost = (what: string, value: number | undefined, target: number | undefined, unit = ""): void => {
    if (value === undefined || target === undefined) return
    verdicts.push({ what: `${what} ${round(value)}${unit} ≤ ${round(target)}${unit}`, met: value <= target })
  }
  atLeast("throughput", ratio.throughput, targets.throughput)
  atMost("CPU", ratio.cpu, targets.cpu)
  atLeast("mixed", ratio.mixed, targets.mixed)
  atMost("loss", percent(sallyport?.loss), percent(targets.loss), " %")
  if (targets.notWorseThanPeer === true) {
    if (sallyport?.p99 === undefined) atMost("loss, the peer's", percent(sallyport?.loss), percent(peer?.loss), " %")
    else atMost("p99, the peer's", sallyport.p99, peer?.p99, " ms")
  }
  atMost("user CPU without cipher", copy?.userPerGiB, plainUserTarget)
  atMost("main loop late, p99", sallyport?.loopP99, loopTargetMs, " ms")
  return verdicts
}

/** The table, one line per case and pair. */
export const table = (rows: ReadonlyArray<Row>): string => {
  const lines: Array<string> = []
  const cell = (value: number | undefined, digits = 2): string =>
    (value === undefined ? "" : value.toFixed(digits)).padStart(8)
  lines.push(
    `${"".padEnd(36)}${["MiB/s", "min", "max", "CPU-s/GiB", "user", "client", "loss %", "p50 ms", "p99 ms"].map((h) => h.padStart(10)).join("")}`
  )
  for (const row of rows) {
    lines.push(row.name)
    for (const [pair, s] of Object.entries(row.summaries)) {
      const speed = s.connectionsPerSecond ?? s.mibps
      const cells = [
        cell(speed, 0),
        cell(s.spread?.[0], 0),
        cell(s.spread?.[1], 0),
        cell(pair === "floor" ? undefined : s.cpuPerGiB),
        cell(pair === "floor" ? undefined : s.userPerGiB),
        cell(pair === "floor" ? undefined : s.clientPerGiB),
        cell(percent(s.loss)),
        cell(s.p50),
        cell(s.p99)
      ]
      const unit = s.connectionsPerSecond === undefined ? "" : " (connections/s)"
      lines.push(`  ${(pairTitles[pair as PairName] + unit).padEnd(34)}${cells.map((c) => c.padStart(10)).join("")}`)
    }
    for (const { met, what } of row.verdicts) lines.push(`    ${met ? "met   " : "MISSED"} ${what}`)
  }
  return lines.join("\n")
}

const measured = [
  ["mibps", "MiB/s", "low"],
  ["connectionsPerSecond", "connections/s", "low"],
  ["cpuPerGiB", "CPU-s/GiB", "high"],
  ["userPerGiB", "user CPU-s/GiB", "high"],
  ["loss", "% lost", "high"],
  ["p50", "ms, p50", "high"],
  ["p99", "ms, p99", "high"],
  ["loopP99", "ms main loop late, p99", "high"]
] as const

const ratios = [
  ["throughput", "× the peer's throughput", "low"],
  ["cpu", "× the peer's CPU", "high"],
  ["mixed", "× the peer's throughput, peer's client", "low"],
  ["p99", "× the peer's p99", "high"]
] as const

/** What `--record` keeps. At the peer, and without a tunnel, what is good is bad for us. */
export const figures = (rows: ReadonlyArray<Row>): ReadonlyArray<Figure> =>
  rows.flatMap(({ name, ratio, summaries }) => [
    ...Object.entries(summaries).flatMap(([pair, summary]) =>
      measured.flatMap(([key, unit, bad]): ReadonlyArray<Figure> => {
        const value = key === "loss" ? percent(summary.loss) : summary[key]
        if (value === undefined || (pair === "floor" && /CPU/.test(unit))) return []
        const theirs = pair === "floor" || pair === "peer"
        const side = theirs ? (bad === "low" ? "high" : "low") : bad
        return [{ name: `${name}: ${pairTitles[pair as PairName]}`, unit, value, bad: side }]
      })
    ),
    ...ratios.flatMap(([key, unit, bad]): ReadonlyArray<Figure> => {
      const value = ratio[key]
      return value === undefined ? [] : [{ name, unit, value, bad }]
    })
  ])

/** The document that `--json` ends with. */
export const document = (rows: ReadonlyArray<Row>, wireguard: WireguardBinary): string => {
  const floor: Record<string, Summary> = {}
  for (const { name, summaries } of rows) if (summaries.floor !== undefined) floor[name] = summaries.floor
  const document = {
    cases: rows.map(({ name, ratio, summaries: { copy, mixed, peer, sallyport }, verdicts }) => ({
      name,
      sallyport,
      peer,
      ratio,
      mixed,
      ...(copy === undefined ? {} : { withoutCipher: copy }),
      targets: verdicts
    })),
    peer: { version: wireguard.version, go: wireguard.go, sha256: wireguard.sha256, offloads: wireguard.offloads },
    floor
  }
  return JSON.stringify(document, (_, value: unknown) =>
    typeof value === "number" ? Number(value.toPrecision(4)) : value
  )
}

const over = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined || b === undefined || b === 0 ? undefined : a / b

const percent = (share: number | undefined): number | undefined => (share === undefined ? undefined : share * 100)

const round = (value: number): number => Math.round(value * 100) / 100

const optional = <K extends string>(name: K, value: number | undefined): { readonly [P in K]?: number } =>
  value === undefined ? {} : ({ [name]: value } as { readonly [P in K]?: number })
