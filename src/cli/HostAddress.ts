import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"

/** Where this host is, as far as it can tell by itself. */
export class HostAddress extends Context.Service<
  HostAddress,
  {
    /** The source address of what it sends to the Internet, canonical text; `null`: it has no way there. */
    readonly wayOut: Effect.Effect<string | null>
  }
>()("sallyport/cli/HostAddress") {}
