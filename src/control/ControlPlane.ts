import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"

/** Whether access requests can arrive just now, in words for `status`. */
export interface ControlPlaneHealth {
  readonly kind: "file" | "portal" | "memory"
  readonly connected: boolean
  readonly detail: string
}

/**
 * Where access requests come from. Its layer calls `ConnectionAcceptor.accept` for each and carries the reply back:
 * `file` answers tunnel DNS queries of the clients in `sallyport.yaml`, `portal` speaks to a Firezone portal,
 * `memory` serves tests.
 */
export class ControlPlane extends Context.Service<
  ControlPlane,
  { readonly health: Effect.Effect<ControlPlaneHealth> }
>()("sallyport/control/ControlPlane") {}
