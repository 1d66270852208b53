import * as Context from "effect/Context"
import type { Session } from "./session.ts"

/** The session with the portal, for all who must know which clients it has. */
export class PortalSession extends Context.Service<PortalSession, Session>()(
  "sallyport/control/firezone/PortalSession"
) {}
