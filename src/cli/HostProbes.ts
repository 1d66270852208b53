import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { PostgresAddress } from "../config/postgresAddress.ts"
import type { Examined, HostFacts, ServerFact, SiteHostFact } from "./doctorFacts.ts"
import type { LoadError } from "./load.ts"

/** Looks at the host without changing anything; each look is given up after a few seconds. */
export class HostProbes extends Context.Service<
  HostProbes,
  {
    readonly host: (wanted: Examined) => Effect.Effect<HostFacts, LoadError>
    /** Of this program and what it runs on. */
    readonly versions: Effect.Effect<Readonly<Record<string, string>>, LoadError>
    /** Asks each server of each set by itself, the host's own among them. */
    readonly servers: (sets: Examined["resolvers"]) => Effect.Effect<ReadonlyArray<ServerFact>, LoadError>
    /** Connects to each host by itself, as a gateway does. */
    readonly siteHosts: (address: PostgresAddress) => Effect.Effect<ReadonlyArray<SiteHostFact>, LoadError>
  }
>()("sallyport/cli/HostProbes") {}
