/** What every `DataPlane` implementation shares: the desired state and the fan-out of notices. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import { noticeMoved } from "../../src/dataplane/betweenClocks.ts"
import { Activity } from "../../src/dataplane/Activity.ts"
import type { Command } from "../../src/dataplane/commands.ts"
import type { DataPlane } from "../../src/dataplane/DataPlane.ts"
import { DataPlaneError } from "../../src/dataplane/DataPlaneError.ts"
import { DesiredState } from "../../src/dataplane/DesiredState.ts"
import { KeyPlaces } from "../../src/dataplane/KeyPlaces.ts"
import type { ClientState, Notice } from "../../src/dataplane/notices.ts"
import type { Acknowledge, Order } from "../../src/dataplane/orders.ts"
import { monotonicMillis } from "../../src/loops/monotonic.ts"
import { formatHostPort } from "../../src/packet/endpoint.ts"

/** Notices that wait for one subscriber; beyond it the oldest are dropped and counted. */
const noticeCapacity = 16_384

/** A worker that does not answer for this long is being replaced, or there is none. */
const settleTime = "3 seconds"

/** Faults kept for the first subscriber. */
const mostEarly = 64

export interface DataPlaneHub {
  readonly desired: DesiredState
  /** Records a command, and yields what the worker has to do for it. */
  readonly decide: (command: Command) => ReadonlyArray<Order>
  /** `now`: monotonic milliseconds. `at`: the same moment by the clock that the times in the notices are of. */
  readonly deliver: (notices: ReadonlyArray<Notice>, now: number, at?: number) => void
  /** Has the worker say when it has carried out all before the order that is posted. Yields whether it has said so in time. */
  readonly settled: (post: (order: Acknowledge) => void) => Effect.Effect<boolean>
  /** What of the service needs nothing of the worker. */
  readonly service: Pick<DataPlane["Service"], "notices" | "desired" | "clients" | "activity" | "twoPlaces" | "failure">
  /** The engine's counters with what is counted here. */
  readonly counters: (engine: Readonly<Record<string, number>>) => Readonly<Record<string, number>>
}

export const makeDataPlaneHub = (): DataPlaneHub => {
  const desired = new DesiredState()
  const keyPlaces = new KeyPlaces()
  const activity = new Activity()
  const subscribers = new Set<Queue.Queue<Notice>>()
  const failure = Deferred.makeUnsafe<never, DataPlaneError>()
  let dropped = 0
  let faults = 0
  /** Said before anybody listened. */
  let early: Array<Notice> = []

  /** Asked of the worker, the oldest first. */
  const asked = new Map<number, Deferred.Deferred<void>>()
  let askedLast = 0

  const acknowledged = (upTo: number): void => {
    for (const [number, done] of asked) {
      if (number > upTo) return
      asked.delete(number)
      Deferred.doneUnsafe(done, Effect.void)
    }
  }

  const settled = (post: (order: Acknowledge) => void) =>
    Effect.suspend(() => {
      const number = ++askedLast
      const done = Deferred.makeUnsafe<void>()
      asked.set(number, done)
      post({ _tag: "Acknowledge", number })
      return Deferred.await(done).pipe(
        Effect.timeoutOption(settleTime),
        Effect.map(Option.isSome),
        Effect.ensuring(Effect.sync(() => void asked.delete(number)))
      )
    })

  const publish = (notice: Notice): void => {
    for (const queue of subscribers) {
      if (Queue.sizeUnsafe(queue) >= noticeCapacity) dropped++
      Queue.offerUnsafe(queue, notice)
    }
  }

  const tellFaults = (): void => {
    for (const message of desired.faults.splice(0)) {
      faults++
      const fault: Notice = { _tag: "Fault", epoch: 0, message }
      if (subscribers.size > 0) publish(fault)
      else if (early.length < mostEarly) early.push(fault)
    }
  }

  /** Where ICE finds the path, it may change as it likes. */
  const tellOfPlaces = ({ client, endpoint, epoch, path }: ClientState, now: number): void => {
    if (endpoint === null || path !== undefined) return
    const found = keyPlaces.observe(client, formatHostPort(endpoint.address, endpoint.port), now)
    if (found === null) return
    const [here, there] = found.endpoints
    const message = `the key of client ${client} is in use at two places at a time, ${here} and ${there}: each takes the other's connection; give every device a key of its own`
    publish({ _tag: "Fault", epoch, message })
  }

  /** Whether it is for others too. */
  const observe = (notice: Notice, now: number): boolean => {
    switch (notice._tag) {
      case "Acknowledged":
        acknowledged(notice.number)
        return false
      case "Ready":
        // The one before has ended, with all its flows, and what was sent is in the desired state that this one begins with.
        acknowledged(askedLast)
        desired.disconnect()
        activity.restart()
        return true
      case "Journal":
        activity.observe({ ...notice, clients: notice.clients.filter(({ client }) => desired.has(client)) }, now)
        return true
      case "ClientState":
        // It may have been sent before the worker knew that there is no such client any more.
        if (!desired.has(notice.client)) return false
        desired.observe(notice)
        return true
      case "ConnectionLost":
        desired.lost(notice)
        return true
      case "Traffic":
        desired.traffic(notice.mapping, now)
        return true
      case "Fault":
        if (notice.fatal === true) {
          Deferred.doneUnsafe(failure, Effect.fail(new DataPlaneError({ message: notice.message })))
        }
        return true
      default:
        return true
    }
  }

  const notices = Effect.acquireRelease(
    Effect.map(Queue.sliding<Notice>(noticeCapacity), (queue) => {
      subscribers.add(queue)
      for (const fault of early) Queue.offerUnsafe(queue, fault)
      early = []
      return queue
    }),
    (queue) =>
      Effect.suspend(() => {
        subscribers.delete(queue)
        return Queue.shutdown(queue)
      })
  )

  return {
    desired,
    settled,
    service: {
      notices,
      desired,
      clients: Effect.sync(() => desired.clientStates),
      activity: Effect.succeed(activity),
      twoPlaces: (client) => Effect.map(monotonicMillis, (now) => keyPlaces.contested(client, now)),
      failure: Deferred.await(failure)
    },
    counters: (engine) => ({
      ...engine,
      "ice.bad_candidate": (engine["ice.bad_candidate"] ?? 0) + desired.excessCandidates,
      "notices.dropped": dropped,
      "worker.faults": faults
    }),
    decide: (command) => {
      const orders = desired.apply(command)
      if (command._tag === "UpsertClient") activity.forgetStranger(command.publicKey)
      if (command._tag === "RemoveClient" && orders.length > 0) {
        keyPlaces.forget(command.client)
        activity.forgetClient(command.client)
        publish({ _tag: "ClientRemoved", epoch: 0, client: command.client })
      }
      tellFaults()
      return orders
    },
    deliver: (sent, now, at = now) => {
      for (const each of sent) {
        const notice = noticeMoved(each, now - at)
        if (!observe(notice, now)) continue
        publish(notice)
        if (notice._tag === "ClientState") tellOfPlaces(notice, now)
      }
      tellFaults()
    }
  }
}
