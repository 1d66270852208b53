import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Severity } from "effect/LogLevel"
import * as PubSub from "effect/PubSub"
import * as Stream from "effect/Stream"
import { describeEvent } from "../../src/events/describeEvent.ts"
import type { Event, LoggedEvent } from "../../src/events/Event.ts"
import { EventLog } from "../../src/events/EventLog.ts"
import { EventStore } from "../../src/events/EventStore.ts"

/** Events that wait for one reader. */
const maxWaiting = 4_096

/** Keeps events in memory, and tells decisions at the log levels `debug` and `trace`. */
export const layer: Layer.Layer<never> = Layer.effect(
  EventLog,
  Effect.gen(function* () {
    const store = new EventStore()
    const news = yield* PubSub.sliding<LoggedEvent>(maxWaiting)
    const list = Effect.map(Clock.currentTimeMillis, (now) => store.list(now))
    return {
      record: Effect.fnUntraced(function* (event) {
        PubSub.publishUnsafe(news, store.add(event, yield* Clock.currentTimeMillis))
        const level = levelOf(event)
        if (level !== null) yield* Effect.logWithLevel(level)(describeEvent(event))
      }),
      list,
      follow: Stream.unwrap(
        Effect.gen(function* () {
          const waiting = yield* PubSub.subscribe(news)
          const kept = yield* list
          const last = kept.at(-1)?.number ?? 0
          const later = Stream.filter(Stream.fromSubscription(waiting), ({ number }) => number > last)
          return Stream.concat(Stream.fromIterable(kept), later)
        })
      )
    }
  })
)

/** `null`: who records it has a line of its own. */
const levelOf = (event: Event): Severity | null => {
  switch (event._tag) {
    case "ClientConnected":
    case "ClientSilent":
    case "Expired":
    case "Reloaded":
    case "KeysChanged":
      return null
    case "FlowOpened":
    case "FlowClosed":
    case "FlowsUntold":
    case "Question":
      return "Trace"
    default:
      return "Debug"
  }
}
