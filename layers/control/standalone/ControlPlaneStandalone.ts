/**
 * The file control plane: access requests are made for every client × network resource at the start and for every
 * tunnel DNS question about a resource's name. Remembers each client's endpoint and last handshake.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Authorizations, LastAuthorizationEnded } from "../../../src/access/Authorizations.ts"
import { Clients } from "../../../src/access/Clients.ts"
import { ConnectionAcceptor } from "../../../src/access/ConnectionAcceptor.ts"
import type { GatewayConfig } from "../../../src/config/GatewayConfig.ts"
import { type PolicyChange, Registry, type VersionedPolicy } from "../../../src/control/Registry.ts"
import { ControlPlane } from "../../../src/control/ControlPlane.ts"
import { activeClients } from "../../../src/control/standalone/activeClients.ts"
import { describeDifference, isNothing, newClients } from "../../../src/control/standalone/policyDifference.ts"
import { TunnelNames } from "../../../src/control/standalone/TunnelNames.ts"
import { tunnelPlanOf } from "../../../src/control/standalone/tunnelPlan.ts"
import { DataPlane, InBulk } from "../../../src/dataplane/DataPlane.ts"
import type { ClientState } from "../../../src/dataplane/notices.ts"
import { answerQuery } from "../../../src/dns/tunnelServer.ts"
import { EventLog } from "../../../src/events/EventLog.ts"
import type { DnsSocketError } from "../../../src/host/DnsSockets.ts"
import type { HostError } from "../../../src/host/HostNetwork.ts"
import { type StateError, StateStore } from "../../../src/host/StateStore.ts"
import { Tunnel } from "../../../src/host/Tunnel.ts"
import { eachOnItsOwn } from "../../../src/loops/eachOnItsOwn.ts"
import { forEachNotice } from "../../../src/loops/forEachNotice.ts"
import { monotonicMillis } from "../../../src/loops/monotonic.ts"
import { superviseForever } from "../../../src/loops/superviseForever.ts"
import { type Authorization, isOpen, type Right } from "../../../src/model/Authorization.ts"
import { authorizationsOf } from "../../../src/model/Grant.ts"
import { Site } from "../../../src/shared/Site.ts"
import { inOneTurn } from "../../../src/resolution/inOneTurn.ts"
import { Resolutions } from "../../../src/resolution/Resolutions.ts"
import type { ClientId } from "../../../src/model/Client.ts"

export interface StandaloneOptions {
  /** Done before the first question is read, while the packet worker takes up its work. */
  readonly warmUp?: Effect.Effect<unknown>
}

const persistEvery = "1 second"
const rowsPerWrite = 20
const betweenWrites = "20 millis"
/** Clients that the log names when they come or go, each second, or get back what they may reach; further ones are counted. */
const maxNamed = 10
/** How often the clock is looked at. */
const lookMs = 1_000

export const layer = (
  options: StandaloneOptions = {}
): Layer.Layer<
  ControlPlane,
  DnsSocketError | HostError | StateError,
  Authorizations | Clients | ConnectionAcceptor | DataPlane | Registry | Resolutions | StateStore | Tunnel | TunnelNames
> =>
  Layer.effect(
    ControlPlane,
    Effect.gen(function* () {
      const registry = yield* Registry
      const { config } = registry.current()
      const names = yield* TunnelNames
      const dataPlane = yield* DataPlane
      const tunnel = yield* Tunnel
      const store = yield* StateStore

      yield* tunnel.configure(tunnelPlanOf(config))
      yield* restoreClients(config.clients)
      yield* names.restore
      yield* grantNetworks(config.grants.flatMap(authorizationsOf))
      yield* rememberClients(names)
      yield* forEachNotice("ControlPlane.awaited", {
        UnknownProxy: ({ client, proxyIp }) =>
          Effect.flatMap(names.awaited(client, proxyIp), (mayCome) =>
            mayCome ? Effect.void : dataPlane.send({ _tag: "RefuseProxy", client, proxyIp })
          )
      })
      yield* Effect.forkScoped(grantAgain(names))
      const services = yield* Effect.context<Effect.Services<ReturnType<typeof applyChange>>>()
      yield* registry.follow((change) => Effect.provide(applyChange(change), services))
      const serve = tunnel.serve((query, { address }, transport) =>
        names.isOfClient(address)
          ? answerQuery(query, transport, {
              lookup: (question) => names.answer(address, question),
              known: (question) => names.known(address, question),
              mayComplain: () => names.mayComplain(address)
            })
          : null
      )
      yield* Effect.all([dataPlane.start, Effect.andThen(options.warmUp ?? Effect.void, serve)], { concurrency: 2 })
      return ControlPlane.of({
        health: Effect.zipWith(store.trouble, names.filtered, (trouble, filtered) => ({
          kind: "file",
          connected: trouble === null,
          detail: trouble ?? `${registry.current().config.clients.length} clients configured`,
          filtered
        })),
        counters: names.counters,
        failure: Effect.never
      })
    })
  )

/** A client of the file stays, with authorizations or without. */
export const clientsStay: Layer.Layer<LastAuthorizationEnded> = Layer.succeed(LastAuthorizationEnded, () => Effect.void)

const restoreClients = Effect.fnUntraced(function* (wanted: GatewayConfig["clients"]) {
  const store = yield* StateStore
  const clients = yield* Clients
  const isAlone = (yield* Site) === null
  const now = yield* Clock.currentTimeMillis
  const stored = new Map((yield* store.clients).map((row) => [row.client, row]))
  const active = activeClients([...stored.values()], now)
  for (const client of wanted) {
    const known = stored.get(client.id)
    // Nothing of a device that had the name before: the new one's clock may be behind that one's.
    const row = known?.publicKey === null || known?.publicKey === client.publicKey ? known : undefined
    const endpoint = row?.endpoint ?? null
    yield* clients.upsert(client, {
      endpoint,
      local: row?.local ?? null,
      lastTai64n: row?.lastTai64n ?? null,
      sentTick: row?.sentTick ?? 0,
      gatewayKey: row?.gatewayKey ?? null,
      keepalive: 0,
      // In a site another gateway may have it by now.
      initiate: isAlone && endpoint !== null && active.has(client.id)
    })
  }
})

/** A question meanwhile is answered by the new policy. */
const applyChange = Effect.fnUntraced(function* (change: PolicyChange) {
  const { difference } = change
  const authorizations = yield* Authorizations
  const clients = yield* Clients
  const dataPlane = yield* DataPlane
  const names = yield* TunnelNames
  const resolutions = yield* Resolutions
  const tunnel = yield* Tunnel
  // Nothing waits for the packet worker: what it cuts meanwhile for another reason is counted along.
  const cutBefore = (yield* dataPlane.counters)["sessions.cut"] ?? 0
  if (!isNothing(difference)) yield* names.retake(change)
  const dismiss = Effect.fnUntraced(function* (client: ClientId) {
    yield* authorizations.revoke(client, null)
    yield* resolutions.releaseWhere(client, null)
    yield* clients.remove(client)
  })
  const now = yield* Clock.currentTimeMillis
  const later = difference.bridges.filter((grant) => isOpen(grant, now))
  yield* eachOnItsOwn(difference.clients.removed, dismiss).pipe(
    Effect.ensuring(authorizations.bridge(later, changeRights(change))),
    Effect.andThen(welcome(change)),
    Effect.provideService(InBulk, true)
  )
  yield* names.readAgain(change)
  // No right waits for the host: the packet path goes by the rights of each, whatever the firewall leaves to it.
  const ofHost = yield* Effect.match(tunnel.configure(tunnelPlanOf(change.after.config)), {
    onFailure: ({ message }) => [`the host's firewall is as it was: ${message}; then: sallyport reload`],
    onSuccess: () => []
  })
  if (!isNothing(difference)) {
    const what = `policy ${change.after.version}: ${describeDifference(difference)}`
    yield* (yield* EventLog).record({ _tag: "Reloaded", what })
  }
  const isSettled = yield* dataPlane.settled
  const counters = yield* dataPlane.counters
  const cut = (counters["sessions.cut"] ?? 0) - cutBefore
  return {
    sessions: { cut, untouched: counters["sessions.live"] ?? 0 },
    warnings: isSettled ? ofHost : [...ofHost, unsettled]
  }
})

const unsettled =
  "the packet worker has not confirmed within 3 s that what was taken away is cut: it is when the worker goes on, or is replaced; look at sallyport status"

/**
 * Of clients that were there before: takes away first what is not wanted any more, then looks names up where that is done
 * now, then gives what is new. Waits for nothing, since what stands in meanwhile is seen by no expiry.
 */
const changeRights = Effect.fnUntraced(function* (change: PolicyChange) {
  const { difference } = change
  const authorizations = yield* Authorizations
  const clients = yield* Clients
  const names = yield* TunnelNames
  const resolutions = yield* Resolutions
  yield* eachOnItsOwn(difference.ended, ({ client, resource }) => authorizations.revoke(client, resource))
  for (const resolver of difference.resolvers) yield* resolutions.renew(resolver)
  for (const client of difference.clients.changed) yield* clients.upsert(client)
  const isNew = newClients(difference)
  const now = yield* Clock.currentTimeMillis
  for (const grant of difference.granted) {
    const { client, resource } = grant
    if (isNew.has(client.id)) continue
    if (!isOpen(grant, now)) yield* authorizations.revoke(client.id, resource.id)
    else if ((yield* authorizations.find(client.id, resource.id)) !== undefined) yield* authorizations.record(grant)
    else yield* grantNetworks([grant])
  }
  yield* names.recover(change)
})

/** New clients are let in. */
const welcome = Effect.fnUntraced(function* ({ difference }: PolicyChange) {
  const clients = yield* Clients
  const { added } = difference.clients
  if (added.length === 0) return
  yield* Effect.catch(
    restoreClients(added),
    Effect.fnUntraced(function* (error) {
      yield* Effect.logError(`where new clients were last is not known: ${error.message}`)
      for (const client of added) yield* clients.upsert(client)
    })
  )
  const isNew = newClients(difference)
  const now = yield* Clock.currentTimeMillis
  yield* grantNetworks(difference.granted.filter((grant) => isNew.has(grant.client.id) && isOpen(grant, now)))
})

/** CIDR and Internet resources need no question: they are open from the first handshake on. */
const grantNetworks = Effect.fnUntraced(function* (grants: ReadonlyArray<Authorization>) {
  const acceptor = yield* ConnectionAcceptor
  for (const grant of grants) {
    if (grant.resource.kind === "dns") continue
    yield* acceptor
      .accept({ ...grant, name: null, credentials: null })
      .pipe(
        Effect.catch((refused) =>
          Effect.logInfo(`${refused.resource} is not open to ${refused.client}: ${refused.reason}`)
        )
      )
  }
})

/**
 * A date of the file is of the host's clock. When that one is set back, what had expired by it may hold again, open
 * connections included: where it was ahead for a moment, that is all that anybody sees of it.
 */
const grantAgain = Effect.fnUntraced(function* (names: TunnelNames["Service"]) {
  const registry = yield* Registry
  const authorizations = yield* Authorizations
  let last = yield* Clock.currentTimeMillis
  let given = 0
  /** Yields whether that is the policy up to the end: what another one has taken away stays away. */
  const giveBack = Effect.fnUntraced(function* (policy: VersionedPolicy, hadExpired: (right: Right) => boolean) {
    for (const grant of policy.config.grants.filter(hadExpired).flatMap(authorizationsOf)) {
      const { client, resource } = grant
      // A name that nobody has asked for was not open before.
      if (resource.kind === "dns" && !names.isUsed(client.id, resource.pattern)) continue
      if ((yield* authorizations.find(client.id, resource.id)) !== undefined) continue
      const recorded = Effect.suspend(() =>
        registry.current() === policy ? Effect.as(authorizations.record(grant), true) : Effect.succeed(false)
      )
      if (!(yield* inOneTurn(recorded))) return false
      if (given++ >= maxNamed) continue
      yield* Effect.logWarning("the clock was set back: an authorization holds again").pipe(
        Effect.annotateLogs({ client: client.id, resource: resource.id })
      )
    }
    return true
  })
  const look = Effect.gen(function* () {
    yield* Effect.sleep(lookMs)
    const now = yield* Clock.currentTimeMillis
    // What ended since the last look may have been cut, too.
    const ahead = last + lookMs
    const isBack = now < last
    last = now
    if (!isBack) return
    given = 0
    while (!(yield* giveBack(registry.current(), (grant) => !isOpen(grant, ahead) && isOpen(grant, now)))) {
      // A reload came in between.
    }
    if (given <= maxNamed) return
    yield* Effect.logWarning("the clock was set back: more authorizations hold again").pipe(
      Effect.annotateLogs("count", given - maxNamed)
    )
  })
  return yield* superviseForever("ControlPlane.grants", look)
})

/** Writes down where clients are, at most once a second each, and says when one comes or goes. */
const rememberClients = Effect.fnUntraced(function* (names: TunnelNames["Service"]) {
  const store = yield* StateStore
  const dirty = new Map<ClientId, ClientState>()
  const seenAt = new Map((yield* store.clients).map((row) => [row.client, row.lastSeenAt]))
  let failing = false
  const connected = new Set<ClientId>()
  let named = 0
  const more = { connected: 0, silent: 0 }

  const note = Effect.fnUntraced(function* (state: ClientState) {
    dirty.set(state.client, state)
    if (state.connected === connected.has(state.client)) return
    if (state.connected) connected.add(state.client)
    else connected.delete(state.client)
    if (named++ >= maxNamed) {
      if (state.connected) more.connected++
      else more.silent++
      return
    }
    yield* Effect.logInfo(state.connected ? "client connected" : "client is silent").pipe(
      Effect.annotateLogs("client", state.client)
    )
  })

  const tellMore = Effect.suspend(() => {
    const { connected, silent } = more
    named = 0
    more.connected = 0
    more.silent = 0
    if (connected + silent === 0) return Effect.void
    return Effect.logInfo("more clients came or went").pipe(Effect.annotateLogs({ connected, silent }))
  })

  /** A few rows at a time, so that no question waits behind hundreds. */
  const write = Effect.fnUntraced(
    function* (pause: Effect.Effect<void>) {
      const states = [...dirty.values()]
      for (let at = 0; at < states.length; at += rowsPerWrite) {
        if (at > 0) yield* pause
        const some = states.slice(at, at + rowsPerWrite)
        const wall = yield* Clock.currentTimeMillis
        const now = yield* monotonicMillis
        const rows = some.map(
          ({ client, endpoint, gatewayKey, handshakeAt, lastTai64n, local, publicKey, sentTick }) => {
            const lastSeenAt = handshakeAt === null ? (seenAt.get(client) ?? 0) : Math.round(wall - (now - handshakeAt))
            seenAt.set(client, lastSeenAt)
            return { client, publicKey, endpoint, local, lastTai64n, sentTick, gatewayKey, lastSeenAt }
          }
        )
        yield* store.putClients(rows)
        for (const state of some) if (dirty.get(state.client) === state) dirty.delete(state.client)
        failing = false
      }
    },
    Effect.catch((error) => {
      if (failing) return Effect.void
      failing = true
      return Effect.logError(`client endpoints are not remembered for now: ${error.message}`)
    })
  )

  yield* forEachNotice("ControlPlane.notices", {
    ClientState: note,
    ClientRemoved: ({ client }) => Effect.sync(() => void connected.delete(client)),
    Traffic: ({ cause, mapping }) => (cause === "Unmapped" ? names.met(mapping) : Effect.void),
    InUse: ({ client, mappings }) => names.inUse(client, mappings),
    Fault: ({ message }) => Effect.logWarning(message)
  })
  const remember = Effect.all([write(Effect.sleep(betweenWrites)), tellMore, Effect.sleep(persistEvery)])
  yield* Effect.forkScoped(superviseForever("ControlPlane.remember", remember))
  yield* Effect.addFinalizer(() => write(Effect.void))
})
