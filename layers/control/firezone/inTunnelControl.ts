/**
 * Names that clients announce inside the tunnel (docs/portal-protocol.md, "Names and proxy IPs"): checked first,
 * accepted at once, and confirmed when the lookup has ended, whatever its outcome: the gateway heals what is not
 * resolved.
 */
import * as Effect from "effect/Effect"
import * as FiberMap from "effect/FiberMap"
import { Authorizations } from "../../../src/access/Authorizations.ts"
import { ExpiryClock } from "../../../src/access/ExpiryClock.ts"
import { ConnectionAcceptor } from "../../../src/access/ConnectionAcceptor.ts"
import {
  type AssignedIps,
  controlEvent,
  domainStatus,
  goodbye,
  readAssignedIps
} from "../../../src/control/firezone/inTunnel.ts"
import { PortalSession } from "../../../src/control/firezone/PortalSession.ts"
import { DataPlane } from "../../../src/dataplane/DataPlane.ts"
import type { ClientId } from "../../../src/model/Client.ts"
import { monotonicMillis } from "../../../src/loops/monotonic.ts"
import type { MappingId } from "../../../src/model/Mapping.ts"
import type { AccessRequest } from "../../../src/model/AccessRequest.ts"
import { Resolutions } from "../../../src/resolution/Resolutions.ts"

/**
 * A client keeps packets for a name until it is confirmed. What it sends then is parked for what is left of the two
 * seconds from the lookup's beginning, so that it is told within these.
 */
const confirmAfter = "1800 millis"
/** Confirmations that wait for a lookup; more are given at once. */
const maxWaiting = 4_096
/**
 * Names that were announced for resources their clients had not, kept in case they get them: of so many clients, those that
 * announced last, and of each the last ones.
 */
const maxRefused = { clients: 256, ofClient: 64 }
/**
 * A client is brought to connect anew this often, at most. One whose next connection is no better has its others cut in vain:
 * each pause is twice the last one, until it has done without for twice as long.
 */
const anewPauseMs = { first: 60_000, longest: 3_600_000 }
/** How long a client may send to proxy IPs that stand for nothing after it got a resource of names. */
const announceMs = 3_000
/** And how long it is remembered that it announced none. */
const silentMs = 60_000

/** `onDisconnected`: a client was made to begin another connection. */
export const makeInTunnelControl = Effect.fnUntraced(function* (
  onDisconnected: (client: ClientId) => Effect.Effect<void>
) {
  const acceptor = yield* ConnectionAcceptor
  const authorizations = yield* Authorizations
  const dataPlane = yield* DataPlane
  const resolutions = yield* Resolutions
  // All names of a portal are looked up there.
  yield* resolutions.meet("system")
  const session = yield* PortalSession
  const today = yield* ExpiryClock
  const waiting = yield* FiberMap.make<string>()
  const counters = { assigned: 0, malformed: 0, inactive: 0, active: 0, renumbered: 0, connected_anew: 0 }
  const refused = new Map<ClientId, ReadonlyArray<AssignedIps>>()
  const anew = new Map<ClientId, { readonly at: number; readonly pause: number }>()
  /** Since when clients that got a resource, of whose names none is known here, have announced none; the earliest first. */
  const silentSince = new Map<ClientId, number>()

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

  /**
   * What the client believes of us is not so, since it is from before this gateway's start, or from long ago: it has an
   * authorization that the portal knows of and this process does not, or names that it does not announce again. Neither
   * refusal nor silence helps; a new connection does. Newer clients take a `Goodbye`, the others notice that nobody is there.
   */
  const connectAnew = Effect.fnUntraced(function* (client: ClientId, why: string) {
    const now = yield* monotonicMillis
    for (const [known, { at, pause }] of anew) if (now - at >= 2 * pause) anew.delete(known)
    const last = anew.get(client)
    if (last !== undefined && now - last.at < last.pause) return false
    const pause = last === undefined ? anewPauseMs.first : Math.min(2 * last.pause, anewPauseMs.longest)
    anew.set(client, { at: now, pause })
    counters.connected_anew++
    silentSince.delete(client)
    yield* Effect.logInfo(`a client ${why}: it is to connect anew`).pipe(Effect.annotateLogs({ client }))
    yield* dataPlane.send(goodbye(client))
    yield* dataPlane.send({ _tag: "DisconnectClient", client })
    yield* onDisconnected(client)
    return true
  })

  /** The client's but for those that `gone` names. */
  const withoutRefused = (client: ClientId, gone: (one: AssignedIps) => boolean): ReadonlyArray<AssignedIps> => {
    const left = (refused.get(client) ?? []).filter((one) => !gone(one))
    refused.delete(client)
    if (left.length > 0) refused.set(client, left)
    return left
  }

  const remember = (client: ClientId, assigned: AssignedIps): void => {
    const others = withoutRefused(client, (one) => isSame(one, assigned))
    refused.set(client, [...others, assigned].slice(-maxRefused.ofClient))
    if (refused.size > maxRefused.clients) refused.delete(refused.keys().next().value!)
  }

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

  const assigned = Effect.fn("ControlPlane.assignedIps", { root: true, kind: "server" })(function* (
    client: ClientId,
    assigned: AssignedIps
  ) {
    const { echo, resource } = assigned
    yield* Effect.annotateCurrentSpan({ client, resource, domain: echo.domain })
    counters.assigned++
    const mapping = yield* accept(client, assigned)
    const outcome = typeof mapping === "string" ? mapping : (mapping?.state._tag ?? "Accepted")
    yield* Effect.annotateCurrentSpan({ outcome })
    if (mapping === "NotAuthorized" && session.lists(client, resource, yield* today)) {
      if (yield* connectAnew(client, "has an authorization of before this gateway's start")) return
    }
    if (typeof mapping === "string") {
      if (mapping === "NotAuthorized") remember(client, assigned)
      yield* Effect.logDebug(`name refused: ${mapping}`).pipe(Effect.annotateLogs({ client, resource }))
      return yield* tell(client, "Inactive", echo)
    }
    silentSince.delete(client)
    if (refused.has(client)) withoutRefused(client, (one) => isSame(one, assigned))
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
    /** The client may use the resource: what it announced of it before, it does not announce again. */
    granted: Effect.fnUntraced(function* ({ client: { id: client }, name, resource: { id, kind } }: AccessRequest) {
      // In generation A names come with the request.
      if (kind !== "dns" || name !== null) return
      const now = yield* monotonicMillis
      for (const [known, since] of silentSince) {
        if (now - since < silentMs) break
        silentSince.delete(known)
      }
      // One that comes back to its client goes on with the names that it had.
      if (!silentSince.has(client) && !(yield* resolutions.hasMappings(client, id))) silentSince.set(client, now)
      const own = refused.get(client)?.filter(({ resource }) => resource === id) ?? []
      if (own.length === 0) return
      withoutRefused(client, (one) => own.includes(one))
      for (const one of own) yield* assigned(client, one)
    }),
    /** It takes "prohibited" for a lost authorization and asks for it, again and again, unless it begins anew. */
    unknownProxy: Effect.fnUntraced(function* (client: ClientId) {
      const since = silentSince.get(client)
      if (since === undefined || (yield* monotonicMillis) - since < announceMs) return
      yield* connectAnew(client, "uses a name that it has announced to another process")
    }),
    /** The client begins anew. */
    forget: (client: ClientId): void => {
      silentSince.delete(client)
      refused.delete(client)
    },
    counters: () => ({ ...counters })
  }
})

const isSame = (a: AssignedIps, b: AssignedIps): boolean => a.resource === b.resource && a.echo.domain === b.echo.domain
