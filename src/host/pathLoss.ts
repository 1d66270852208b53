/**
 * Judges what is counted on the ways of packets: a way that lets nothing through for longer than a burst is lost, until
 * something comes through again. Pure; times are monotonic milliseconds.
 */
import type { PathCount } from "./pathCounters.ts"

export type Path = Pick<PathCount, "way" | "family" | "protocol" | "device">

/** A way on which packets stay away. */
export interface PathLoss extends Path {
  /** When the first of them was missed. */
  readonly since: number
  /** When packets were last missed. */
  readonly latest: number
  readonly lost: number
  /** What came through meanwhile. */
  readonly passed: number
}

interface Judged {
  readonly count: PathCount
  /** What the last count was ahead of the first one, as they are not read at the same moment. */
  readonly ahead: number
  readonly loss: PathLoss | null
  /** Looks at which packets were missed. */
  readonly looks: number
  readonly told: boolean
}

export type PathJudgement = ReadonlyMap<string, Judged>

export interface PathNews {
  readonly next: PathJudgement
  /** Missed for the first time at this look, and nothing came through: lost already where a rule explains it. */
  readonly suspected: ReadonlyArray<PathLoss>
  /** Lost since the last look. */
  readonly lost: ReadonlyArray<PathLoss>
  /** Told lost before, and more is lost. */
  readonly still: ReadonlyArray<PathLoss>
  /** Told lost before, and healed since. */
  readonly healed: ReadonlyArray<PathLoss>
}

/** Nothing comes through, at two looks that are further apart than a burst lasts. A packet worker may rest for a while. */
const burstMs = 1_500
const restMs = 6_000
/** Most is lost, but not all. */
const mostlyMs = 5_000
const mostlyLooks = 4
/** One lost packet means nothing. */
const forgottenMs = 30_000

/** One look at the counts. */
export const judgePaths = (before: PathJudgement, counts: ReadonlyArray<PathCount>, now: number): PathNews => {
  const next = new Map<string, Judged>()
  const suspected: Array<PathLoss> = []
  const lost: Array<PathLoss> = []
  const still: Array<PathLoss> = []
  const healed: Array<PathLoss> = []
  for (const count of counts) {
    const key = keyOf(count)
    const last = before.get(key)
    const judged = judge(last, count, now)
    next.set(key, judged)
    if (!judged.told && judged.looks === 1 && last?.looks !== 1 && judged.loss?.passed === 0)
      suspected.push(judged.loss)
    if (judged.told && last?.told !== true && judged.loss !== null) lost.push(judged.loss)
    if (judged.told && last?.told === true && judged.loss !== null && judged.loss !== last.loss) still.push(judged.loss)
    if (!judged.told && last?.told === true && last.loss !== null) healed.push(last.loss)
  }
  return { next, suspected, lost, still, healed }
}

/** The same with a suspicion that has become certain. */
export const withCertain = (judgement: PathJudgement, path: Path): PathJudgement =>
  withChange(judgement, path, { told: true })

/** The same with a way that nothing is known against. */
export const withoutLoss = (judgement: PathJudgement, path: Path): PathJudgement =>
  withChange(judgement, path, unharmed)

const unharmed = { loss: null, looks: 0, told: false } as const

const withChange = (judgement: PathJudgement, path: Path, change: Partial<Judged>): PathJudgement => {
  const key = keyOf(path)
  const judged = judgement.get(key)
  return judged === undefined ? judgement : new Map(judgement).set(key, { ...judged, ...change })
}

/** What is told lost just now, the oldest first. */
export const lostPaths = (judgement: PathJudgement): ReadonlyArray<PathLoss> =>
  [...judgement.values()]
    .flatMap(({ loss, told }) => (told && loss !== null ? [loss] : []))
    .toSorted((a, b) => a.since - b.since)

/** Whether packets have been missed of which it is not known yet whether it was a burst. */
export const suspects = (judgement: PathJudgement): boolean =>
  [...judgement.values()].some(({ loss, told }) => loss !== null && !told)

const keyOf = ({ device, family, protocol, way }: Path): string => `${way} ${family} ${protocol} ${device}`

const judge = (before: Judged | undefined, count: PathCount, now: number): Judged => {
  // Counts that have fallen: the table was made again.
  const known = before !== undefined && count.first >= before.count.first && count.last >= before.count.last
  const from = known ? before.count : { first: 0, last: 0 }
  const came = count.first - from.first
  const left = count.last - from.last
  const surplus = left - came + (known ? before.ahead : 0)
  const ahead = Math.max(0, surplus)
  const missed = Math.max(0, -surplus)
  const still = { ahead, loss: before?.loss ?? null, looks: before?.looks ?? 0, told: before?.told ?? false }
  // A socket that overflows, as in a flood, still takes some.
  const isOpen = count.way === "listen" && left > 0

  if (missed > 0 && missed * 2 >= came && !isOpen) {
    const { device, family, protocol, way } = count
    const loss = still.loss ?? { way, family, protocol, device, since: now, latest: now, lost: 0, passed: 0 }
    // What came through at the first look came before.
    const passed = still.loss === null ? 0 : loss.passed + left
    const grown = { ...loss, latest: now, lost: loss.lost + missed, passed }
    const looks = still.looks + 1
    const lasts = now - loss.since
    const told =
      still.told ||
      (grown.passed === 0
        ? looks > 1 && lasts >= (count.way === "listen" ? restMs : burstMs)
        : looks >= mostlyLooks && lasts >= mostlyMs)
    return { count, ahead, loss: grown, looks, told }
  }
  // Some come through, and hardly any is missed: a burst, or healed.
  if (left > 0 && (isOpen || missed * 10 <= left)) return { count, ahead, ...unharmed }
  if (!still.told && still.loss !== null && now - still.loss.since > forgottenMs) return { count, ahead, ...unharmed }
  return { ...still, count }
}
