import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"

/** What this host has of IPv6, for commands that touch nothing. */
export class HostIpv6 extends Context.Service<
  HostIpv6,
  {
    /** What is missing and what a gateway here would make of it, one line; `null`: nothing. */
    readonly missing: Effect.Effect<string | null>
  }
>()("sallyport/cli/HostIpv6") {}
