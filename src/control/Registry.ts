import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Schema from "effect/Schema"
import type { GatewayConfig } from "../config/GatewayConfig.ts"
import type { SitePolicy } from "../shared/SitePolicy.ts"
import type { PolicyDifference } from "./standalone/policyDifference.ts"

/** What is wanted, as one immutable value. The version grows with each change while the gateway runs, not with a reload without any. */
export interface VersionedPolicy {
  readonly version: number
  readonly config: GatewayConfig
  /** The site's policy that it goes by; `null`: what its own file says of it counts. */
  readonly site: SitePolicy | null
}

const Names = Schema.Struct({
  added: Schema.Array(Schema.String),
  changed: Schema.Array(Schema.String),
  removed: Schema.Array(Schema.String),
  untouched: Schema.Int
})

/** What a reload came to. */
export const ReloadReport = Schema.Struct({
  version: Schema.Int,
  /** Of the site's policy that counts, whatever the file says; left out: the file's own does. */
  site: Schema.optionalKey(Schema.Int),
  clients: Names,
  resources: Names,
  /** Client × resource; the first of them by name. */
  grants: Schema.Struct({
    added: Schema.Int,
    changed: Schema.Int,
    removed: Schema.Int,
    named: Schema.Array(
      Schema.Struct({
        client: Schema.String,
        resource: Schema.String,
        change: Schema.Literals(["added", "changed", "removed"]),
        /** Its ports and its end: `tcp/443, until 2027-01-01T00:00:00.000Z`; of one that is gone what they were. */
        allows: Schema.String,
        /** The same before, where that was something else. */
        before: Schema.NullOr(Schema.String)
      })
    )
  }),
  /** Sets whose servers have changed. */
  resolvers: Schema.Array(Schema.String),
  /** Other settings that have changed, as the file calls them. */
  settings: Schema.Array(Schema.String),
  sessions: Schema.Struct({ cut: Schema.Int, untouched: Schema.Int }),
  /** What of it is not in force yet, in a line each with what to do. */
  warnings: Schema.Array(Schema.String),
  tookMs: Schema.Int
})
export type ReloadReport = typeof ReloadReport.Type

/** Nothing has changed; `message` says why, in a line for each place. */
export class ReloadRefused extends Schema.TaggedError<ReloadRefused>()("ReloadRefused", { message: Schema.String }) {}

export interface PolicyChange {
  readonly before: VersionedPolicy
  readonly after: VersionedPolicy
  readonly difference: PolicyDifference
}

/** What applying a change came to. */
export type Applied = Pick<ReloadReport, "sessions" | "warnings">

/** What is wanted: clients, groups, resources, resolver sets and all else that the file says. */
export class Registry extends Context.Service<
  Registry,
  {
    /** Asked each time; nobody keeps it. */
    readonly current: () => VersionedPolicy
    /**
     * Reads what is wanted anew and has the difference applied; one at a time. Once begun, that goes on to its end, its line
     * in the log included.
     */
    readonly reload: Effect.Effect<ReloadReport, ReloadRefused>
    /**
     * The site's policy counts from now on, instead of what the file says of it; applied like a reload, without a look at the
     * file. Refused as a whole where this gateway cannot go by it.
     */
    readonly adopt: (policy: SitePolicy) => Effect.Effect<ReloadReport, ReloadRefused>
    /** Who applies changes; `current` is the new one already. */
    readonly follow: (
      apply: (change: PolicyChange) => Effect.Effect<Applied>
    ) => Effect.Effect<void, never, Scope.Scope>
  }
>()("sallyport/control/Registry") {}
