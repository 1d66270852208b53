/** Puts the host right whenever it is changed behind the gateway's back, and says so. */
import * as Effect from "effect/Effect"
import type { DataPlane } from "../../src/dataplane/DataPlane.ts"
import type { HostKept } from "../../src/host/HostKept.ts"
import type { HostNetwork } from "../../src/host/HostNetwork.ts"
import { monotonicMillis } from "../../src/loops/monotonic.ts"

/** Who undoes every repair is met at once this often in a row, with one more each `moreMs`, and once a second then. */
const atOnce = 60
const moreMs = 2_000
const pauseMs = 1_000
/** That many of them have a line each. What goes on then has one, until nothing was changed for `calmMs`. */
const toldEach = 20
const calmMs = 10_000

export interface HostKeeper {
  /** One comparison, and what it takes. */
  readonly round: Effect.Effect<void>
  readonly kept: () => HostKept
}

/** `onRemade`: the device is another one than before. Yields what went wrong then; it is tried again at the next round. */
export const makeHostKeeper = (
  host: HostNetwork["Service"],
  dataPlane: DataPlane["Service"],
  onRemade: Effect.Effect<string | null>
): HostKeeper => {
  let kept: HostKept = { repaired: 0, devicesMade: 0, last: null, wrong: null }
  /** The sockets of the device are to be made again. */
  let remade = false
  let left = atOnce
  /** Repairs without a line each; `null`: each has one. */
  let untold: number | null = null
  let toldWrong: ReadonlyArray<string> = []

  const round = Effect.gen(function* () {
    const now = yield* monotonicMillis
    const found = yield* host.repair(dataPlane.remakeDevice)
    remade ||= found.remade
    const failure = remade ? yield* onRemade : null
    remade = failure !== null
    const refused = failure === null ? found.refused : [...found.refused, failure]
    const quiet = now - (kept.last?.at ?? 0)

    if (untold !== null && quiet >= calmMs) {
      yield* Effect.logInfo(`nobody keeps changing the host any more: put right ${untold} times without a line each`)
      untold = null
      left = atOnce
    }
    if (found.repaired.length > 0) {
      left = Math.min(atOnce, left + quiet / moreMs)
      const what = found.repaired.join(", ")
      if (untold === null && left <= atOnce - toldEach) {
        untold = 0
        yield* Effect.logWarning(
          `somebody keeps changing the host (${what}): it is put right without a line each from now on; find the program that does it`
        )
      } else if (untold === null) {
        yield* Effect.logWarning(`the host was changed, and is put right: ${what}`)
      }
      if (untold !== null) untold++
      kept = {
        ...kept,
        repaired: kept.repaired + found.repaired.length,
        devicesMade: kept.devicesMade + Number(found.remade),
        last: { at: now, what: found.repaired }
      }
      if (left < 1) yield* Effect.sleep(pauseMs)
      left = Math.max(0, left - 1)
    }
    if (refused.join("\n") !== (kept.wrong?.what ?? []).join("\n")) {
      kept = { ...kept, wrong: refused.length === 0 ? null : { since: kept.wrong?.since ?? now, what: refused } }
    }
    // Who undoes repairs all the time makes some of them fail; that somebody does has been said.
    if (untold !== null) return
    for (const line of refused) if (!toldWrong.includes(line)) yield* Effect.logWarning(line)
    if (refused.length === 0 && toldWrong.length > 0) yield* Effect.logInfo("the host is as it should be again")
    toldWrong = refused
  })
  return { round, kept: () => kept }
}
