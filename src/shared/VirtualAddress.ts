import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type { VrrpState } from "./vrrpState.ts"

/**
 * Whether this gateway has the address that the clients of its site dial, as the program that moves it says
 * (`sallyport vip-notify`). Who has it answers for all clients of the site.
 */
export class VirtualAddress extends Context.Service<
  VirtualAddress,
  {
    /** Since when, in monotonic milliseconds; `null`: nobody has said anything since the gateway's start. */
    readonly told: () => { readonly state: VrrpState; readonly since: number } | null
    /** Says what the state is, be it the same one again. */
    readonly tell: (state: VrrpState) => Effect.Effect<void>
    /** What is, unless it is not known, then each change. */
    readonly changes: Stream.Stream<VrrpState>
  }
>()("sallyport/shared/VirtualAddress") {}
