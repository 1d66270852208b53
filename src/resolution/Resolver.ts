import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Name } from "../model/Mapping.ts"

/** The name does not exist (NXDOMAIN). */
export class NameNotFound extends Schema.TaggedError<NameNotFound>()("NameNotFound", { ttlSeconds: Schema.Finite }) {}
/** The name exists and has neither A nor AAAA records (NODATA). */
export class NoAddresses extends Schema.TaggedError<NoAddresses>()("NoAddresses", { ttlSeconds: Schema.Finite }) {}
/** A server answered that it could not (SERVFAIL, REFUSED, malformed answers). */
export class ServerFailure extends Schema.TaggedError<ServerFailure>()("ServerFailure", { detail: Schema.String }) {}
/** No server answered within the lookup's time. */
export class Timeout extends Schema.TaggedError<Timeout>()("Timeout", { afterMs: Schema.Finite }) {}
/** There is no server to ask, or none that could be reached gives DNS answers (another protocol's, a wrong certificate). */
export class NoResolver extends Schema.TaggedError<NoResolver>()("NoResolver", { detail: Schema.String }) {}
/** Every address of the answer is one that policy refuses. */
export class DestinationRefused extends Schema.TaggedError<DestinationRefused>()("DestinationRefused", {
  addresses: Schema.Array(Schema.String)
}) {}
/** The lookup was not started: it waits for a budget, by name, or for what the text says. */
export class Throttled extends Schema.TaggedError<Throttled>()("Throttled", { budget: Schema.String }) {}

export const ResolutionReason = Schema.Union([
  NameNotFound,
  NoAddresses,
  ServerFailure,
  Timeout,
  NoResolver,
  DestinationRefused,
  Throttled
])
export type ResolutionReason = typeof ResolutionReason.Type

export class ResolutionError extends Schema.TaggedError<ResolutionError>()("ResolutionError", {
  resolver: Schema.String,
  domain: Schema.String,
  reason: ResolutionReason
}) {}

export interface Answer {
  /** Canonical texts of both families, no duplicates, at least one. */
  readonly addresses: ReadonlyArray<string>
  /** The smallest TTL along the chain. */
  readonly ttlSeconds: number
}

/**
 * Looks a name up: A and AAAA side by side, or the one family that the name is about. Interruption cancels the queries. The query is sent again
 * every second and given up after 10 s.
 */
export class Resolver extends Context.Service<
  Resolver,
  { readonly resolve: (name: Name) => Effect.Effect<Answer, ResolutionError> }
>()("sallyport/resolution/Resolver") {}
