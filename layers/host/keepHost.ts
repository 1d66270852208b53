/** Puts the host right whenever it is changed behind the gateway's back, and says so. */
import * as Effect from "effect/Effect"
import type { DataPlane } from "../../src/dataplane/DataPlane.ts"
import type { HostKept } from "../../src/host/HostKept.ts"
import type { HostNetwork } from "../../src/host/HostNetwork.ts"
import { monotonicMillis } from "../../src/loops/monotonic.ts"

/** Somebody who undoes every repair is met at once this often, and once a second then. */
const atOnce = 60
const pauseMs = 1_000
/** Rounds are forgotten, one by one, after this long. */
const forgottenMs = 2_000

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
  let rounds = 0
  let forgotAt = 0
  let untold = 0

  const round = Effect.gen(function* () {
    const now = yield* monotonicMillis
    const found = yield* host.repair(dataPlane.remakeDevice)
    remade ||= found.remade
    const failure = remade ? yield* onRemade : null
    remade = failure !== null
    const refused = failure === null ? found.refused : [...found.refused, failure]

    if (found.repaired.length > 0) {
      const forgotten = Math.floor((now - forgotAt) / forgottenMs)
      rounds = Math.max(0, rounds - forgotten) + 1
      forgotAt += forgotten * forgottenMs
      kept = {
        ...kept,
        repaired: kept.repaired + found.repaired.length,
        devicesMade: kept.devicesMade + Number(found.remade),
        last: { at: now, what: found.repaired }
      }
      if (rounds <= atOnce) {
        const before = untold === 0 ? "" : ` (and ${untold} times before, without a line each)`
        untold = 0
        yield* Effect.logWarning(`the host was changed, and is put right: ${found.repaired.join(", ")}${before}`)
      } else {
        if (untold++ === 0) {
          yield* Effect.logWarning(
            `somebody keeps changing the host (${found.repaired.join(", ")}): it is put right once a second from now on; find the program that does it`
          )
        }
        yield* Effect.sleep(pauseMs)
      }
    }
    const wrong = kept.wrong?.what ?? []
    if (refused.join("\n") === wrong.join("\n")) return
    kept = { ...kept, wrong: refused.length === 0 ? null : { since: kept.wrong?.since ?? now, what: refused } }
    // Who undoes repairs all the time makes some of them fail; that somebody does has been said.
    if (rounds - Math.floor((now - forgotAt) / forgottenMs) > atOnce) return
    for (const line of refused) if (!wrong.includes(line)) yield* Effect.logWarning(line)
    if (refused.length === 0) yield* Effect.logInfo("the host is as it should be again")
  })
  return { round, kept: () => kept }
}
