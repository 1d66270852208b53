/**
 * The portal control plane: its messages become access requests, and every reply goes out in the turn of its request. Our
 * candidates go to the clients, names of clients are answered inside the tunnel.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Authorizations, LastAuthorizationEnded } from "../../../src/access/Authorizations.ts"
import { Clients } from "../../../src/access/Clients.ts"
import { ExpiryClock } from "../../../src/access/ExpiryClock.ts"
import { ConnectionAcceptor } from "../../../src/access/ConnectionAcceptor.ts"
import { ControlPlane, ControlPlaneEnded } from "../../../src/control/ControlPlane.ts"
import { CandidateBook } from "../../../src/control/firezone/candidateBook.ts"
import { controlEvent, goodbye } from "../../../src/control/firezone/inTunnel.ts"
import { decodeMessage } from "../../../src/control/firezone/messages.ts"
import { PortalTime } from "../../../src/control/firezone/PortalTime.ts"
import type { PortalSocket } from "../../../src/control/firezone/PortalSocket.ts"
import { PortalSession } from "../../../src/control/firezone/PortalSession.ts"
import { type Action, Session } from "../../../src/control/firezone/session.ts"
import { maxAuthorizations } from "../../../src/control/firezone/wire.ts"
import { DataPlane } from "../../../src/dataplane/DataPlane.ts"
import type { Upstream } from "../../../src/dns/Upstream.ts"
import { Tunnel } from "../../../src/host/Tunnel.ts"
import { forEachNotice, type NoticeHandlers } from "../../../src/loops/forEachNotice.ts"
import { monotonicMillis, monotonicMillisUnsafe } from "../../../src/loops/monotonic.ts"
import { makeOddities } from "../../../src/loops/oddities.ts"
import { makeOutlive } from "../../../src/loops/outlive.ts"
import { superviseForever } from "../../../src/loops/superviseForever.ts"
import type { ClientId } from "../../../src/model/Client.ts"
import { inOneTurn } from "../../../src/resolution/inOneTurn.ts"
import { Resolutions } from "../../../src/resolution/Resolutions.ts"
import { makeInTunnelControl } from "./inTunnelControl.ts"
import { makePortalLink } from "./portalLink.ts"
import { makePortalTunnel, type PortalTunnelOptions } from "./portalTunnel.ts"

export interface PortalOptions extends PortalTunnelOptions {
  readonly legacy: boolean
  readonly maxPartition: Duration.Duration
}

/** Clients at a time; a portal that names more gets no answer for them. */
const maxClients = 16_384

export const layer = (
  options: PortalOptions
): Layer.Layer<
  ControlPlane,
  never,
  Authorizations | ConnectionAcceptor | DataPlane | PortalSocket | Resolutions | Tunnel | Upstream
> =>
  Layer.effect(
    ControlPlane,
    Effect.gen(function* () {
      const acceptor = yield* ConnectionAcceptor
      const authorizations = yield* Authorizations
      const dataPlane = yield* DataPlane
      const tunnel = yield* Tunnel
      const portalTunnel = yield* makePortalTunnel(options)
      const odd = makeOddities()
      const session = yield* PortalSession
      const time = yield* PortalClock
      const clock = yield* Clock.Clock
      const candidates = new CandidateBook()
      const control = yield* makeInTunnelControl((client) => Effect.sync(() => candidates.forget(client)))
      const ended = yield* Deferred.make<never, ControlPlaneEnded>()

      const hasRoom = Effect.fnUntraced(function* (client: ClientId) {
        const taken = session.clients.has(client) || session.clients.size < maxClients
        return taken && (yield* authorizations.count) < maxAuthorizations
      })

      const accept = Effect.fnUntraced(function* ({ reply, request }: Extract<Action, { _tag: "Accept" }>) {
        if (!(yield* hasRoom(request.client.id))) {
          return yield* odd("room", "the portal names more clients or authorizations than this gateway takes")
        }
        yield* acceptor.accept(request).pipe(
          Effect.matchEffect({
            onSuccess: ({ credentials }) => {
              session.accept(request.client)
              const message = reply(credentials)
              if (message !== null) link.send(message)
              return control.granted(request)
            },
            onFailure: (refused) =>
              odd(
                `refused ${refused.reason}`,
                `request refused: ${refused.reason} (client ${refused.client}, resource ${refused.resource})`
              )
          })
        )
      })

      const perform = (action: Action): Effect.Effect<void, ControlPlaneEnded> => {
        switch (action._tag) {
          case "Accept":
            return accept(action)
          case "Send":
            return Effect.sync(() => link.send(action.message))
          case "Configure":
            return portalTunnel.configure(action)
          case "SetRelays":
          case "AddCandidate":
          case "RemoveCandidate":
            return dataPlane.send(action)
          case "Reconcile":
            return authorizations.reconcile(action.authorizations)
          case "Revoke":
            return authorizations.revoke(action.client, action.resource)
          case "UpdateResource":
            return authorizations.update(action.resource)
          case "SetExpiry":
            return setExpiry(authorizations, action.grant)
          case "Warn":
            return Effect.logWarning(action.message)
          case "End":
            return end(action.reason)
        }
      }

      const onMessage = Effect.fn("ControlPlane.message", { root: true, kind: "client" })(
        function* (event: string, payload: unknown) {
          const decoded = decodeMessage(event, payload)
          yield* Effect.annotateCurrentSpan({ event: event.slice(0, 64), outcome: decoded._tag })
          switch (decoded._tag) {
            case "Unknown":
              return yield* odd(
                `event ${event.slice(0, 64)}`,
                `skipped an unknown message of the portal: ${quoted(event)}`
              )
            case "Malformed":
              return yield* odd(`malformed ${event}`, `skipped ${quoted(event)} of the portal: ${decoded.problem}`)
            case "Message": {
              if (decoded.skipped > 0)
                yield* odd(`parts ${event}`, `skipped ${decoded.skipped} parts of ${quoted(event)}`)
              if ("client" in decoded.message) {
                const { client, resource } = { resource: null, ...decoded.message }
                yield* Effect.annotateCurrentSpan({ client: idOf(client), resource: idOf(resource) })
              }
              const now = yield* monotonicMillis
              const actions = session.handle(decoded.message, now)
              for (const action of actions) yield* perform(action)
            }
          }
        },
        inOneTurn,
        // A bug met by one message must not cost the others their connection.
        makeOutlive("ControlPlane.message")
      )

      const link = yield* makePortalLink({
        ...options,
        onOdd: odd,
        onMessage,
        onJoined: (connection) =>
          Effect.andThen(
            tunnel.reachedFrom(connection.localAddress),
            Effect.sync(() => {
              time.connected(connection.date, clock.currentTimeMillisUnsafe(), monotonicMillisUnsafe(clock))
              tellCandidates()
            })
          )
      })

      /** Only while somebody listens: until then the book keeps the latest state. */
      function tellCandidates(): void {
        if (!link.joined()) return
        for (const message of candidates.take()) link.send(message)
      }

      const handlers: NoticeHandlers = {
        CandidateFound: ({ candidate, client }) => Effect.sync(() => candidates.found(client, candidate)),
        CandidateLost: ({ candidate, client }) => Effect.sync(() => candidates.lost(client, candidate)),
        ConnectionLost: Effect.fnUntraced(function* ({ client, reason }) {
          candidates.forget(client)
          control.forget(client)
          yield* Effect.logInfo("the connection to a client is lost").pipe(Effect.annotateLogs({ client, reason }))
        }),
        RelayLost: Effect.fnUntraced(function* ({ left, reason, relay }) {
          yield* odd(`relay ${reason}`, `relay ${relay} is lost: ${reason}; ${left} left`)
          const now = yield* monotonicMillis
          for (const action of session.relayLost(left, now)) yield* Effect.ignore(perform(action))
        }),
        Control: ({ client, event, payload }) =>
          event === controlEvent.AssignedIps ? control.assignedIps(client, payload) : Effect.void,
        UnknownProxy: ({ client }) => control.unknownProxy(client),
        Fault: ({ message }) => Effect.logWarning(message)
      }
      yield* forEachNotice("ControlPlane.notices", handlers, Effect.sync(tellCandidates))

      yield* Effect.addFinalizer(() =>
        Effect.forEach(session.clients.keys(), (id) => dataPlane.send(goodbye(id)), { discard: true })
      )
      const untilEnd = (loop: Effect.Effect<never, { readonly message: string }>) =>
        Effect.forkScoped(Effect.catch(loop, ({ message }) => Deferred.fail(ended, new ControlPlaneEnded({ message }))))
      yield* untilEnd(superviseForever("ControlPlane.link", Effect.raceFirst(link.run, tunnel.moved)))
      yield* untilEnd(portalTunnel.run)

      return ControlPlane.of({
        health: Effect.sync(() => ({ kind: "portal", connected: link.joined(), detail: link.detail() })),
        counters: Effect.sync(() => ({ ...link.counters(), ...control.counters(), ...portalTunnel.counters() })),
        failure: Deferred.await(ended)
      })
    })
  ).pipe(Layer.provide([layerSession, layerTime]))

/** One for all who are built together. */
const layerSession: Layer.Layer<PortalSession> = Layer.sync(PortalSession, () => new Session())

class PortalClock extends Context.Service<PortalClock, PortalTime>()("sallyport/control/firezone/PortalClock") {}

const layerTime: Layer.Layer<PortalClock> = Layer.effect(
  PortalClock,
  Effect.map(Clock.Clock, (clock) => new PortalTime(clock.currentTimeMillisUnsafe(), monotonicMillisUnsafe(clock)))
)

/** Expiry dates of a portal are of its own clock. */
export const portalDates: Layer.Layer<never> = Layer.effect(
  ExpiryClock,
  Effect.map(PortalClock, (time) => Effect.map(monotonicMillis, (now) => time.at(now)))
).pipe(Layer.provide(layerTime))

/** A client without authorizations has no connection either: it is told, and removed. */
export const dismissal: Layer.Layer<LastAuthorizationEnded, never, Clients | DataPlane | Resolutions> = Layer.effect(
  LastAuthorizationEnded,
  Effect.gen(function* () {
    const clients = yield* Clients
    const dataPlane = yield* DataPlane
    const resolutions = yield* Resolutions
    const session = yield* PortalSession
    return Effect.fnUntraced(function* (client: ClientId) {
      session.dismiss(client)
      yield* dataPlane.send(goodbye(client))
      yield* resolutions.releaseWhere(client, null)
      yield* clients.remove(client)
    })
  })
).pipe(Layer.provide(layerSession))

const idOf = (one: string | { readonly id: string } | null): string | null =>
  typeof one === "string" ? one : (one?.id ?? null)

const setExpiry = Effect.fnUntraced(function* (
  authorizations: Authorizations["Service"],
  { client, expiresAt, resource }: Extract<Action, { _tag: "SetExpiry" }>["grant"]
) {
  const held = yield* authorizations.find(client, resource)
  if (held !== undefined) yield* authorizations.record({ ...held, expiresAt })
})

/** A token that has ended will be refused for ever; of other reasons the next handshake tells more. */
const end = (reason: string): Effect.Effect<void, ControlPlaneEnded> =>
  /token|revoked|disabled/.test(reason)
    ? Effect.fail(
        new ControlPlaneEnded({
          message: `the portal ends this gateway (${quoted(reason)}): make a new token in the portal and put it into FIREZONE_TOKEN, or end the other gateway with this FIREZONE_ID`
        })
      )
    : Effect.logWarning(`the portal will disconnect: ${quoted(reason)}`)

const quoted = (text: string): string => JSON.stringify(text.slice(0, 64))
