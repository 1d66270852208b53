import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"

/** Whether access requests can arrive just now, in words for `status`. */
export interface ControlPlaneHealth {
  readonly kind: "file"
  readonly connected: boolean
  readonly detail: string
}

/**
 * Where access requests come from. Its layer calls `ConnectionAcceptor.accept` for each and carries the reply back.
 * There is one so far, `file`: it answers tunnel DNS queries of the clients in `sallyport.yaml`.
 */
export class ControlPlane extends Context.Service<
  ControlPlane,
  { readonly health: Effect.Effect<ControlPlaneHealth> }
>()("sallyport/control/ControlPlane") {}
