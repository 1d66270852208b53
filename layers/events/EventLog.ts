import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { flow } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as PubSub from "effect/PubSub"
import * as References from "effect/References"
import * as Stream from "effect/Stream"
import { describeEvent } from "../../src/events/describeEvent.ts"
import type { Event, LoggedEvent } from "../../src/events/Event.ts"
import { EventCollectors } from "../../src/events/EventCollectors.ts"
import { EventLog } from "../../src/events/EventLog.ts"
import { printable } from "../../src/events/printable.ts"
import { EventStore } from "../../src/events/EventStore.ts"
import { LineLevel } from "../../src/events/LineLevel.ts"

/** Events that wait for one reader. */
const maxWaiting = 4_096

/** Keeps events in memory, tells decisions at the log levels `debug` and `trace`, and a collector in any case. */
export const layer: Layer.Layer<never> = Layer.effect(
  EventLog,
  Effect.gen(function* () {
    const store = new EventStore()
    const news = yield* PubSub.sliding<LoggedEvent>(maxWaiting)
    const collectors = yield* EventCollectors
    const others = new Set([...(yield* Logger.CurrentLoggers)].filter((logger) => !collectors.has(logger)))
    const collect = flow(
      Effect.provideService(Logger.CurrentLoggers, new Set(collectors.values())),
      Effect.provideService(References.MinimumLogLevel, "All")
    )
    const lineLevel = yield* LineLevel
    const list = Effect.map(Clock.currentTimeMillis, (now) => store.list(now))
    return {
      record: Effect.fnUntraced(function* (event) {
        PubSub.publishUnsafe(news, store.add(event, yield* Clock.currentTimeMillis))
        const level = levelOf(event)
        const least = lineLevel === null ? yield* References.MinimumLogLevel : lineLevel()
        const isLine = level !== null && !LogLevel.isGreaterThan(least, level)
        if (!isLine && collectors.size === 0) return
        const text = describeEvent(event)
        if (collectors.size > 0) yield* collect(Effect.annotateLogs(Effect.logInfo(text), attributesOf(event)))
        if (!isLine) return
        if (collectors.size === 0) return yield* Effect.logWithLevel(level)(text)
        yield* Effect.provideService(Effect.logWithLevel(level)(text), Logger.CurrentLoggers, others)
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

/** As a collector looks for them; texts of the network as they may be shown. */
const attributesOf = ({ _tag, ...fields }: Event): Readonly<Record<string, unknown>> => {
  const { to, ...rest } = { to: null, ...fields }
  const named = Object.entries({ ...rest, ...to }).filter(([, value]) => value !== null)
  return {
    "event.name": _tag,
    ...Object.fromEntries(named.map(([key, value]) => [key, typeof value === "string" ? printable(value) : value]))
  }
}

/** `null`: who records it has a line of its own, which is no record with attributes. */
const levelOf = (event: Event): LogLevel.Severity | null => {
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
