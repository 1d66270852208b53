import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Event, LoggedEvent } from "./Event.ts"

/** What happened, kept for a while for `sallyport log`. Without one nothing is kept: it is for the operator, nobody decides by it. */
export class EventLog extends Context.Reference<{
  /** Never waits. */
  readonly record: (event: Event) => Effect.Effect<void>
  /** What is kept, the oldest first. */
  readonly list: Effect.Effect<ReadonlyArray<LoggedEvent>>
  /** The same, then each one as it comes; a reader that is too slow misses the oldest. */
  readonly follow: Stream.Stream<LoggedEvent>
}>("sallyport/events/EventLog", {
  defaultValue: () => ({ record: () => Effect.void, list: Effect.succeed([]), follow: Stream.empty })
}) {}
