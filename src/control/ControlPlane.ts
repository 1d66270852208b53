import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { FilteredAddresses } from "./standalone/tellable.ts"

/** Whether access requests can arrive just now, in words for `status`. */
export interface ControlPlaneHealth {
  readonly kind: "file" | "portal"
  readonly connected: boolean
  readonly detail: string
  /** What was left out of DNS answers. */
  readonly filtered?: Pick<FilteredAddresses, "count" | "last">
}

/** No access request will ever arrive again. `message` is one line: what failed, why, and the fix. */
export class ControlPlaneEnded extends Schema.TaggedError<ControlPlaneEnded>()("ControlPlaneEnded", {
  message: Schema.String
}) {}

/**
 * Where access requests come from. Its layer calls `ConnectionAcceptor.accept` for each and carries the reply back.
 * `file` answers tunnel DNS queries of the clients in `sallyport.yaml`; `portal` is told by a Firezone portal.
 */
export class ControlPlane extends Context.Service<
  ControlPlane,
  {
    readonly health: Effect.Effect<ControlPlaneHealth>
    /** What came and was refused since the start, by name; for `status`. */
    readonly counters: Effect.Effect<Readonly<Record<string, number>>>
    /** Waits, and fails when the process had better end: the portal refuses the token, say. */
    readonly failure: Effect.Effect<never, ControlPlaneEnded>
  }
>()("sallyport/control/ControlPlane") {}
