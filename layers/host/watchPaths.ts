/** Watches the gateway's own traffic for packets that the host takes away, and says who is likely to blame. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { DataPlane } from "../../src/dataplane/DataPlane.ts"
import { countingAtFirst, judgeCounting, type TrafficSeen, withRules } from "../../src/host/countingNeed.ts"
import type { FirewallReport } from "../../src/host/FirewallReport.ts"
import type { HostError, HostNetwork, HostPlan } from "../../src/host/HostNetwork.ts"
import type { PathCount } from "../../src/host/pathCounters.ts"
import {
  judgePaths,
  lostPaths,
  type PathJudgement,
  type PathLoss,
  suspects,
  withCertain,
  withoutLoss
} from "../../src/host/pathLoss.ts"
import { type Blame, describeLoss, describePath } from "../../src/host/pathTrouble.ts"
import { monotonicMillisUnsafe } from "../../src/loops/monotonic.ts"
import { makeOddities } from "../../src/loops/oddities.ts"
import { superviseForever } from "../../src/loops/superviseForever.ts"

/** How often it is seen whether there is traffic. */
const tickMs = 500
/** Between two looks at the counts: when there is traffic again, while packets stay away, while all is well, without any. */
const freshMs = 500
const freshLooks = 2
const closeMs = 1_000
const busyMs = 3_000
const idleMs = 6_000
/** Between two looks at the rules while packets stay away. */
const blameMs = 5_000

export interface PathWatch {
  readonly watch: (plan: HostPlan) => Effect.Effect<never>
  readonly report: () => FirewallReport
}

export const makePathWatch = (host: HostNetwork["Service"], dataPlane: DataPlane["Service"]): PathWatch => {
  let judged = false
  let uncounted: string | null = null
  const odd = makeOddities()
  let judgement: PathJudgement = new Map()
  /** Who is to blame for each lost way. */
  let blamed: ReadonlyArray<Blamed> = []
  const counters = { lost: 0, healed: 0 }

  const watch = Effect.fnUntraced(function* (plan: HostPlan) {
    const clock = yield* Clock.Clock
    const monotonic = () => monotonicMillisUnsafe(clock)
    judged = plan.firewall !== "off"
    uncounted = null
    judgement = new Map()
    blamed = []
    let lookedAt = Number.NEGATIVE_INFINITY
    let written: number | undefined = 0
    let writtenAt = Number.NEGATIVE_INFINITY
    let fresh = 0
    let blamedAt = 0
    let sockets = { arrived: 0, received: 0, both: 0 }
    let rules: number | null = null
    let counting = countingAtFirst
    /** The table that counts is there. */
    let isCounting = false
    let failedAt = Number.NEGATIVE_INFINITY
    /** Told already, by who is to blame: one rule takes packets of many kinds. */
    const told = new Set<string>()

    const tell = Effect.fnUntraced(function* (loss: PathLoss, culprit: Blame) {
      blamed = [...blamed.filter((b) => !isSame(b.loss, loss)), { ...culprit, loss }]
      if (told.has(culprit.likely)) return
      told.add(culprit.likely)
      counters.lost++
      yield* Effect.logWarning(describeLoss(loss, culprit, monotonic() - loss.since))
    })

    /** A burst may be over at the next look, but for one that a rule explains which takes everything. */
    const suspect = Effect.fnUntraced(function* (loss: PathLoss) {
      const culprit = yield* host.blame(plan, loss)
      if (!culprit.sure) return
      judgement = withCertain(judgement, loss)
      yield* tell(loss, culprit)
    })

    /** Rules may have changed, and others do the same. */
    const blameAgain = Effect.fnUntraced(function* (loss: PathLoss) {
      const culprit = yield* host.blame(plan, loss)
      if (blamed.some((b) => isSame(b.loss, loss) && b.likely === culprit.likely)) return
      yield* tell(loss, culprit)
    })

    const cannotCount = Effect.fnUntraced(function* ({ message }: HostError) {
      if (uncounted === message) return
      uncounted = message
      yield* odd("count", `what others on the host take away of the gateway's packets is not seen: ${message}`)
    })

    const begin = Effect.fnUntraced(function* (received: number) {
      // A table that cannot be read counts for nobody.
      yield* Effect.tapError(Effect.andThen(host.countPaths(plan, true), host.pathCounts(plan)), cannotCount)
      if (uncounted !== null) yield* Effect.logInfo("what others on the host take away is seen again")
      uncounted = null
      isCounting = true
      fresh = freshLooks
      sockets = { arrived: 0, received, both: 0 }
    })

    const stop = Effect.gen(function* () {
      yield* host.countPaths(plan, false)
      isCounting = false
      judgement = new Map()
    })

    const look = Effect.gen(function* () {
      const packets = yield* dataPlane.counters
      const now = monotonic()
      const rulesNow = yield* host.rulesGeneration
      const well = isCounting ? lostPaths(judgement).length === 0 && !suspects(judgement) : null
      counting = judgeCounting(counting, { at: now, rules: rulesNow, ...seenOf(packets) }, well)
      if (counting.on !== isCounting && now - failedAt >= idleMs) {
        const change = counting.on ? begin(packets["udp.received"] ?? 0) : stop
        yield* Effect.tapError(change, () => Effect.sync(() => void (failedAt = now)))
        // What others have changed meanwhile is seen as changed at the next look.
        counting = withRules(counting, rulesNow === null ? null : rulesNow + 1)
      }
      if (!isCounting) return
      if (packets["tun.written"] !== written) {
        written = packets["tun.written"]
        if (now - writtenAt > busyMs) fresh = freshLooks
        writtenAt = now
      }
      const quiet = now - writtenAt > busyMs
      const pause = fresh > 0 ? freshMs : suspects(judgement) ? closeMs : quiet ? idleMs : busyMs
      if (now - lookedAt < pause - tickMs / 2) return
      lookedAt = now
      if (fresh > 0) fresh--
      // Somebody has flushed all rules.
      const counted = yield* Effect.tapError(host.pathCounts(plan), () => Effect.sync(() => void (isCounting = false)))
      const listening = listen(counted, packets["udp.received"] ?? 0)
      const news = judgePaths(judgement, [...counted, ...listening], now)
      judgement = news.next
      for (const loss of news.suspected) yield* suspect(loss)
      for (const loss of news.lost) yield* tell(loss, yield* host.blame(plan, loss))
      if (news.still.length > 0 && now - blamedAt > blameMs) {
        blamedAt = now
        for (const loss of news.still) yield* blameAgain(loss)
      }
      yield* ended(
        blamed.filter((b) => news.healed.some((loss) => isSame(loss, b.loss))),
        (what) => `the host lets ${what} through again`
      )
      if (rulesNow !== rules && blamed.length > 0) yield* judgeRules
      rules = rulesNow
    })

    const ended = Effect.fnUntraced(function* (gone: ReadonlyArray<Blamed>, say: (what: string) => string) {
      blamed = blamed.filter((b) => !gone.includes(b))
      for (const { likely, loss } of gone) {
        if (blamed.some((b) => b.likely === likely) || !told.delete(likely)) continue
        counters.healed++
        yield* Effect.logInfo(say(describePath(loss)))
      }
    })

    /** What rules have taken nobody may send again for hours: without those rules it is not lost any more, until it is. */
    const judgeRules = Effect.gen(function* () {
      const gone: Array<Blamed> = []
      for (const b of blamed) {
        if ((yield* host.blame(plan, b.loss)).likely === b.likely) continue
        gone.push(b)
        judgement = withoutLoss(judgement, b.loss)
      }
      yield* ended(gone, (what) => `what took ${what} is gone: the next of them will show`)
    })

    /** How much of what arrived at the socket the gateway has read. Several packets may be counted as one there. */
    const listen = (counts: ReadonlyArray<PathCount>, received: number): ReadonlyArray<PathCount> => {
      const arrived = counts.reduce((sum, { last, way }) => (way === "arrive" ? sum + last : sum), 0)
      const came = arrived - sockets.arrived
      // Fewer than before: the table was made again.
      const both = came < 0 ? arrived : sockets.both + Math.max(0, Math.min(came, received - sockets.received))
      sockets = { arrived, received, both }
      return [{ way: "listen", family: "ipv4", protocol: "any", device: "", first: arrived, last: both }]
    }

    if (!judged) return yield* Effect.never
    // A table that somebody has deleted is back before the next look.
    const tick = Effect.andThen(Effect.ignore(look), Effect.sleep(tickMs))
    return yield* superviseForever("Tunnel.paths", tick)
  })

  return {
    watch,
    report: () => ({
      judged,
      uncounted,
      lost: lostPaths(judgement).flatMap((loss) => {
        const known = blamed.find((b) => isSame(b.loss, loss))
        if (known === undefined) return []
        return [
          {
            what: describePath(loss),
            since: loss.since,
            latest: loss.latest,
            packets: loss.lost,
            likely: known.likely,
            fix: known.fix
          }
        ]
      }),
      counters
    })
  }
}

interface Blamed extends Blame {
  readonly loss: PathLoss
}

const seenOf = (packets: Readonly<Record<string, number>>): Omit<TrafficSeen, "at" | "rules"> => {
  const count = (name: string) => packets[name] ?? 0
  return {
    written: count("tun.written"),
    received: count("tun.received"),
    missed: count("outbound.unanswered") + count("inbound.icmp_error"),
    asked: count("outbound.to_gateway"),
    answered: count("inbound.from_gateway")
  }
}

const isSame = (a: PathLoss, b: PathLoss): boolean =>
  a.way === b.way && a.family === b.family && a.protocol === b.protocol && a.device === b.device
