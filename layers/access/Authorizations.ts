import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Authorizations, LastAuthorizationEnded } from "../../src/access/Authorizations.ts"
import { ExpiryClock } from "../../src/access/ExpiryClock.ts"
import type { SetResource } from "../../src/dataplane/commands.ts"
import { DataPlane, InBulk } from "../../src/dataplane/DataPlane.ts"
import { EventLog } from "../../src/events/EventLog.ts"
import { eachOnItsOwn } from "../../src/loops/eachOnItsOwn.ts"
import { superviseForever } from "../../src/loops/superviseForever.ts"
import { type Authorization, isOpen } from "../../src/model/Authorization.ts"
import type { ClientId } from "../../src/model/Client.ts"
import type { Resource, ResourceId } from "../../src/model/Resource.ts"
import { standInOf } from "../../src/model/standIn.ts"
import { coversAlike } from "../../src/resolution/cover.ts"
import { inOneTurn } from "../../src/resolution/inOneTurn.ts"
import { Resolutions } from "../../src/resolution/Resolutions.ts"

/** Who may reach what; a deadline is found out at most a second late. */
export const layer: Layer.Layer<Authorizations, never, DataPlane | LastAuthorizationEnded | Resolutions> = Layer.effect(
  Authorizations,
  Effect.gen(function* () {
    const dataPlane = yield* DataPlane
    const resolutions = yield* Resolutions
    const lastEnded = yield* LastAuthorizationEnded
    const today = yield* ExpiryClock
    const events = yield* EventLog
    const clients = new Map<ClientId, Map<ResourceId, Authorization>>()
    /** Those of them that come to an end: few, most often, of hundreds of thousands that are looked through each second. */
    const ending = new Set<Authorization>()

    /** What stands in for a resource, until it has come to its end. */
    const standing = new Set<Authorization>()

    // Each in one turn: the packet path is told of a right and of its end in the order in which they are noted here.
    const cut = Effect.fnUntraced(function* (
      client: ClientId,
      resource: ResourceId,
      _tag: "Expired" | "Revoked" = "Revoked"
    ) {
      const held = clients.get(client)
      if (held?.has(resource) !== true) return
      yield* dataPlane.send({ _tag: "RevokeResource", client, resource })
      yield* resolutions.revoked(client, resource)
      // Where a bug came in between, it is still there to be taken away.
      ending.delete(held.get(resource)!)
      held.delete(resource)
      if (held.size === 0) {
        clients.delete(client)
        yield* lastEnded(client)
      }
      yield* events.record({ _tag, client, resource })
    }, inOneTurn)

    const record = Effect.fnUntraced(function* (authorization: Authorization) {
      const { client, resource } = authorization
      const held = clients.get(client.id) ?? new Map<ResourceId, Authorization>()
      const last = held.get(resource.id)
      const before = last?.resource
      if (last !== undefined) ending.delete(last)
      if (authorization.expiresAt !== null) ending.add(authorization)
      clients.set(client.id, held.set(resource.id, authorization))
      // First, so that no flow of a name that the resource does not cover comes back with it.
      if (!coversNamesAlike(before, resource)) yield* resolutions.granted(client.id, resource)
      yield* dataPlane.send(setResource(client.id, resource))
    }, inOneTurn)

    const standIn = Effect.fnUntraced(function* (authorization: Authorization) {
      const { client, resource } = authorization
      const other = { ...resource, id: standInOf(resource.id) }
      standing.add(authorization)
      yield* resolutions.granted(client.id, other)
      yield* dataPlane.send(setResource(client.id, other))
    }, inOneTurn)

    const standDown = Effect.fnUntraced(function* (authorization: Authorization) {
      const { client, resource } = authorization
      const other = standInOf(resource.id)
      yield* dataPlane.send({ _tag: "RevokeResource", client: client.id, resource: other })
      yield* resolutions.revoked(client.id, other)
      standing.delete(authorization)
    }, inOneTurn)

    const cutIfExpired = Effect.fnUntraced(function* ({ client, resource }: Authorization) {
      const held = clients.get(client.id)?.get(resource.id)
      if (held === undefined || isOpen(held, yield* today)) return
      yield* Effect.logInfo("an authorization has expired").pipe(
        Effect.annotateLogs({ client: client.id, resource: resource.id })
      )
      yield* cut(client.id, resource.id, "Expired")
    }, inOneTurn)

    const cutExpired = Effect.flatMap(today, (now) => eachOnItsOwn(expiredOf(ending, now), cutIfExpired)).pipe(
      Effect.provideService(InBulk, true)
    )

    yield* superviseForever("Authorizations.expiry", Effect.andThen(cutExpired, Effect.sleep("1 second"))).pipe(
      Effect.forkScoped
    )

    return Authorizations.of({
      record,
      bridge: (later, change) =>
        Effect.forEach(later, standIn, { discard: true }).pipe(
          Effect.andThen(change),
          // Also of those that a bug kept from standing in, or from their end the last time.
          Effect.ensuring(Effect.suspend(() => eachOnItsOwn([...standing], standDown)))
        ),
      update: Effect.fnUntraced(function* (resource) {
        for (const held of clients.values()) {
          const before = held.get(resource.id)
          if (before !== undefined) yield* record({ ...before, resource })
        }
      }),
      reconcile: Effect.fnUntraced(
        function* (listed) {
          const kept = new Map<ClientId, Set<ResourceId>>()
          for (const { client, expiresAt, resource } of listed) {
            const resources = kept.get(client)
            if (resources === undefined) kept.set(client, new Set([resource]))
            else resources.add(resource)
            const before = clients.get(client)?.get(resource)
            if (before !== undefined && before.expiresAt !== expiresAt) yield* record({ ...before, expiresAt })
          }
          const gone = all(clients).filter(({ client, resource }) => kept.get(client.id)?.has(resource.id) !== true)
          yield* eachOnItsOwn(gone, ({ client, resource }) => cut(client.id, resource.id))
        },
        Effect.provideService(InBulk, true)
      ),
      revoke: Effect.fnUntraced(function* (client, resource) {
        const resources = resource === null ? Array.from(clients.get(client)?.keys() ?? []) : [resource]
        yield* eachOnItsOwn(resources, (each) => cut(client, each))
      }),
      find: (client, resource) =>
        Effect.map(today, (now) => {
          const held = clients.get(client)?.get(resource)
          return held !== undefined && isOpen(held, now) ? held : undefined
        }),
      list: Effect.sync(() => all(clients)),
      count: Effect.sync(() => {
        let count = 0
        for (const held of clients.values()) count += held.size
        return count
      })
    })
  })
)

const all = (clients: ReadonlyMap<ClientId, ReadonlyMap<ResourceId, Authorization>>): ReadonlyArray<Authorization> =>
  Array.from(clients.values()).flatMap((held) => Array.from(held.values()))

/** Looked for each second: most often there is none. */
const expiredOf = (ending: ReadonlySet<Authorization>, now: number): ReadonlyArray<Authorization> => {
  const expired: Array<Authorization> = []
  for (const authorization of ending) if (!isOpen(authorization, now)) expired.push(authorization)
  return expired
}

/** Whether both cover the same names by the same rules: if not, each mapping is judged again. */
const coversNamesAlike = (before: Resource | undefined, resource: Resource): boolean =>
  resource.kind === "dns"
    ? coversAlike(before?.kind === "dns" ? before : undefined, resource)
    : before?.kind === resource.kind

const setResource = (client: ClientId, resource: Resource): SetResource => ({
  _tag: "SetResource",
  client,
  resource: resource.id,
  kind: resource.kind,
  network: resource.kind === "cidr" ? resource.network : null,
  filters: resource.filters,
  allow: resource.allow
})
