/**
 * Names that clients announce inside the tunnel (docs/portal-protocol.md, "Names and proxy IPs"): checked first,
 * accepted at once, and confirmed when the lookup has ended, whatever its outcome: the gateway heals what is not
 * resolved.
 */
import * as Effect from "effect/Effect"
import * as FiberMap from "effect/FiberMap"
import { Authorizations } from "../../../src/access/Authorizations.ts"
import { ConnectionAcceptor } from "../../../src/access/ConnectionAcceptor.ts"
import {
  type AssignedIps,
  controlEvent,
  domainStatus,
  readAssignedIps
} from "../../../src/control/firezone/inTunnel.ts"
import { PortalSession } from "../../../src/control/firezone/PortalSession.ts"
import { DataPlane } from "../../../src/dataplane/DataPlane.ts"
import type { ClientId } from "../../../src/model/Client.ts"
import type { MappingId } from "../../../src/model/Mapping.ts"
import { Resolutions } from "../../../src/resolution/Resolutions.ts"

/**
 * A client keeps packets for a name until it is confirmed. What it sends then is parked for what is left of the two
 * seconds from the lookup's beginning, so that it is told within these.
 */
const confirmAfter = "1800 millis"
/** Confirmations that wait for a lookup; more are given at once. */
const maxWaiting = 4_096

export const makeInTunnelControl = Effect.gen(function* () {
  const acceptor = yield* ConnectionAcceptor
  const authorizations = yield* Authorizations
  const dataPlane = yield* DataPlane
  const resolutions = yield* Resolutions
  const session = yield* PortalSession
  const waiting = yield* FiberMap.make<string>()
  const counters = { assigned: 0, malformed: 0, inactive: 0, active: 0, renumbered: 0 }

  const tell = (client: ClientId, status: "Active" | "Inactive", echo: AssignedIps["echo"]) => {
    counters[status === "Active" ? "active" : "inactive"]++
    return dataPlane.send({
      _tag: "SendControl",
      client,
      event: controlEvent.DomainStatus,
      payload: domainStatus(status, echo)
    })
  }

  /** The mapping, or why there is none. */
  const accept = Effect.fnUntraced(function* (id: ClientId, assigned: AssignedIps) {
    const { echo, proxyIps, resource } = assigned
    const held = yield* authorizations.find(id, resource)
    const client = session.clients.get(id)
    if (held === undefined || client === undefined) return "NotAuthorized" as const
    const name = { domain: echo.domain, proxyIps, ownNumbers: true }
    return yield* acceptor.accept({ ...held, client, name, credentials: null }).pipe(
      Effect.map(({ mapping, restarted }) => {
        if (restarted) counters.renumbered++
        return mapping
      }),
      Effect.catch((refused) => Effect.succeed(refused.reason))
    )
  })

  const confirmLater = (client: ClientId, mapping: MappingId, echo: AssignedIps["echo"]) =>
    FiberMap.run(
      waiting,
      `${mapping} ${echo.resource} ${echo.domain}`,
      resolutions.settled(mapping).pipe(
        Effect.timeoutOption(confirmAfter),
        Effect.andThen(resolutions.mappingOf(mapping)),
        // Released meanwhile: the client's authorization is gone, or the name is another's.
        Effect.flatMap((still) => tell(client, still === undefined ? "Inactive" : "Active", echo))
      ),
      { onlyIfMissing: true }
    )

  const assigned = Effect.fn("ControlPlane.assignedIps")(function* (client: ClientId, assigned: AssignedIps) {
    const { echo, resource } = assigned
    yield* Effect.annotateCurrentSpan({ client, resource, domain: echo.domain })
    counters.assigned++
    const mapping = yield* accept(client, assigned)
    const outcome = typeof mapping === "string" ? mapping : (mapping?.state._tag ?? "Accepted")
    yield* Effect.annotateCurrentSpan({ outcome })
    if (typeof mapping === "string") {
      yield* Effect.logDebug(`name refused: ${mapping}`).pipe(Effect.annotateLogs({ client, resource }))
      return yield* tell(client, "Inactive", echo)
    }
    if (mapping === null || mapping.state._tag !== "Resolving") return yield* tell(client, "Active", echo)
    if ((yield* FiberMap.size(waiting)) >= maxWaiting) return yield* tell(client, "Active", echo)
    yield* confirmLater(client, mapping.mapping.id, echo)
  })

  return {
    /** Never waits for a lookup. */
    assignedIps: (client: ClientId, payload: Uint8Array): Effect.Effect<void> => {
      const read = readAssignedIps(payload)
      if (read !== undefined) return assigned(client, read)
      counters.malformed++
      return Effect.void
    },
    counters: () => ({ ...counters })
  }
})
