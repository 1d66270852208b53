import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"

/** What this host knows of the names of others. */
export class HostNames extends Context.Service<
  HostNames,
  {
    /** The addresses of a name, canonical text; an address stands for itself. Empty: it does not resolve here and now. */
    readonly lookup: (host: string) => Effect.Effect<ReadonlyArray<string>>
  }
>()("sallyport/cli/HostNames") {}
