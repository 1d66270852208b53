import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { Hello, Meeting } from "./meeting.ts"
import type { SharedStoreError, SharedStoreStatus } from "./SharedStore.ts"

/**
 * Where the gateways of a site tell each other of their lives and their clients. What is told may be lost at any time, and is
 * told again on each new connection. Without a connection everything fails at once.
 */
export class PresenceStore extends Context.Service<
  PresenceStore,
  {
    /** `sinceMs` by the monotonic clock: another connection has another one. */
    readonly status: Effect.Effect<SharedStoreStatus>
    /** Says all of it, and hears how the site is then; what fails may have been said all the same, and does no harm twice. */
    readonly meet: (hello: Hello) => Effect.Effect<Meeting, SharedStoreError>
    /** Makes it the heir of those that are silent and have none who lives; yields which. Each of them gets one only. */
    readonly inherit: (
      gateway: number,
      from: ReadonlyArray<number>
    ) => Effect.Effect<ReadonlyArray<number>, SharedStoreError>
  }
>()("sallyport/shared/PresenceStore") {}
