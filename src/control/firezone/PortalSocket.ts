import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"

/** The WebSocket could not be opened. */
export class PortalUnreachable extends Schema.TaggedError<PortalUnreachable>()("PortalUnreachable", {
  /** The HTTP status that stood instead of the upgrade; `null` when there was none. */
  status: Schema.NullOr(Schema.Finite),
  retryAfter: Schema.NullOr(Schema.String),
  /** One line, never with the token. */
  detail: Schema.String
}) {}

/** One open WebSocket. */
export interface PortalConnection {
  /** The address of this host that the portal is reached from. */
  readonly localAddress: string | null
  /** The portal's address; `null`: unknown. */
  readonly remoteAddress: string | null
  /** What date it is for the portal, by the header of its answer: epoch milliseconds, whole seconds; `null`: unknown. */
  readonly date: number | null
  /** The next text frame; fails with one line when the connection is closed or of no more use. Frames wait, bounded. */
  readonly receive: Effect.Effect<string, PortalClosed>
  /** Never waits. */
  readonly send: (text: string) => void
}

export class PortalClosed extends Schema.TaggedError<PortalClosed>()("PortalClosed", { detail: Schema.String }) {}

/** The transport to the portal. */
export class PortalSocket extends Context.Service<
  PortalSocket,
  {
    /** `legacy`: with the token where portals of 2024 look for it. Closes with the scope, as after a normal end. */
    readonly connect: (legacy: boolean) => Effect.Effect<PortalConnection, PortalUnreachable, Scope.Scope>
  }
>()("sallyport/control/firezone/PortalSocket") {}
