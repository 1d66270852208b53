/** What every `DataPlane` implementation shares: the snapshot of the desired state and the fan-out of notices. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import { DataPlaneError } from "../../src/dataplane/DataPlaneError.ts"
import type { Notice } from "../../src/dataplane/notices.ts"
import { Snapshot } from "../../src/dataplane/snapshot.ts"

/** Notices that wait for one subscriber; beyond it the oldest are dropped and counted. */
const noticeCapacity = 16_384

export interface DataPlaneHub {
  readonly snapshot: Snapshot
  readonly deliver: (notices: ReadonlyArray<Notice>, now: number) => void
  readonly subscribe: Effect.Effect<Queue.Dequeue<Notice>, never, Scope.Scope>
  readonly dropped: () => number
  /** Fails with the first fatal fault. */
  readonly failure: Effect.Effect<never, DataPlaneError>
}

export const makeDataPlaneHub = (): DataPlaneHub => {
  const snapshot = new Snapshot()
  const subscribers = new Set<Queue.Queue<Notice>>()
  const failure = Deferred.makeUnsafe<never, DataPlaneError>()
  let dropped = 0
  return {
    failure: Deferred.await(failure),
    snapshot,
    dropped: () => dropped,
    deliver: (notices, now) => {
      for (const notice of notices) {
        if (notice._tag === "Ready") snapshot.disconnect()
        else if (notice._tag === "ClientState") snapshot.observe(notice)
        else if (notice._tag === "ConnectionLost") snapshot.lost(notice.client)
        else if (notice._tag === "Traffic") snapshot.traffic(notice.mapping, now)
        else if (notice._tag === "Fault" && notice.fatal === true) {
          Deferred.doneUnsafe(failure, Effect.fail(new DataPlaneError({ message: notice.message })))
        }
        for (const queue of subscribers) {
          if (Queue.sizeUnsafe(queue) >= noticeCapacity) dropped++
          Queue.offerUnsafe(queue, notice)
        }
      }
    },
    subscribe: Effect.acquireRelease(
      Effect.map(Queue.sliding<Notice>(noticeCapacity), (queue) => {
        subscribers.add(queue)
        return queue
      }),
      (queue) =>
        Effect.suspend(() => {
          subscribers.delete(queue)
          return Queue.shutdown(queue)
        })
    )
  }
}
