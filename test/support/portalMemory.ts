/** A gateway of the portal mode over a portal in memory, the recording data plane and the scripted resolver. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { TestClock } from "effect/testing"
import * as Authorizations from "../../layers/access/Authorizations.ts"
import * as Clients from "../../layers/access/Clients.ts"
import * as ConnectionAcceptor from "../../layers/access/ConnectionAcceptor.ts"
import * as ControlPlaneFirezone from "../../layers/control/firezone/ControlPlaneFirezone.ts"
import { DataPlaneRecorder } from "../../layers/memory/DataPlaneRecording.ts"
import * as PortalSocketMemory from "../../layers/memory/PortalSocketMemory.ts"
import { PortalMemory } from "../../layers/memory/PortalSocketMemory.ts"
import * as TunnelMemory from "../../layers/memory/TunnelMemory.ts"
import type { Command } from "../../src/dataplane/commands.ts"
import type { Tunnel } from "../../src/host/Tunnel.ts"
import type { ClientId } from "../../src/model/Client.ts"
import * as wire from "./portalMessages.ts"
import { defaultProxies, layerResolutions } from "./access.ts"
import { upstreamMock } from "./upstreamMock.ts"

/** Servers that never answer: nobody asks them here. */
const noUpstream = upstreamMock({ exchange: () => Effect.never })

const defaults = {
  legacy: false,
  maxPartition: Duration.hours(24),
  device: "tun",
  masquerade: true,
  keepPorts: false,
  trackUdp: true
} as const

export const layerPortal = (options: Partial<ControlPlaneFirezone.PortalOptions> = {}) =>
  layerPortalOn(TunnelMemory.layer, options)

export const layerPortalOn = <A>(
  tunnel: Layer.Layer<A | Tunnel>,
  options: Partial<ControlPlaneFirezone.PortalOptions> = {}
) =>
  ControlPlaneFirezone.layer({ ...defaults, firewall: "off", ...options }).pipe(
    Layer.provideMerge(ConnectionAcceptor.layer),
    Layer.provideMerge(Authorizations.layer),
    Layer.provideMerge(ControlPlaneFirezone.dismissal),
    Layer.provideMerge(Clients.layer),
    Layer.provideMerge(layerResolutions),
    Layer.provideMerge(ControlPlaneFirezone.portalDates),
    Layer.provideMerge(Layer.mergeAll(PortalSocketMemory.layer, tunnel, noUpstream, defaultProxies))
  )

/** Lets everything run that needs no time. */
export const settle = TestClock.adjust(0)

/** Joined, with `init` handled. */
export const start = Effect.fnUntraced(function* (over: object = {}) {
  const portal = yield* PortalMemory
  yield* settle
  yield* portal.push("init", wire.init(over))
  yield* settle
  return portal
})

/** Pushes a message and gives back what the gateway sent for it without any time passing. */
export const ask = Effect.fnUntraced(function* (event: string, payload: unknown) {
  const portal = yield* PortalMemory
  const before = portal.sent.length
  yield* portal.push(event, payload)
  yield* settle
  return portal.sent.slice(before).map(({ event, payload }) => ({ event, payload }))
})

export const commands = Effect.flatMap(DataPlaneRecorder, (recorder) => recorder.commands)

/** Those of one kind, since the start or the last `forget`. */
export const commandsOf = <T extends Command["_tag"]>(tag: T) =>
  Effect.map(commands, (all) => all.filter((c): c is Extract<Command, { _tag: T }> => c._tag === tag))

/** What the gateway told clients inside their tunnels: event and text. */
export const inTunnel = Effect.map(commandsOf("SendControl"), (sent) =>
  sent.map(({ client, event, payload }) => ({ client, event, text: new TextDecoder().decode(payload) }))
)

export const assignedIps = (client: ClientId, resource: string, domain: string, proxyIps: ReadonlyArray<string>) =>
  control(client, 0, JSON.stringify({ resource, domain, proxy_ips: proxyIps }))

export const control = Effect.fnUntraced(function* (client: ClientId, event: number, text: string) {
  const recorder = yield* DataPlaneRecorder
  yield* recorder.publish({
    _tag: "Control",
    epoch: 1,
    client,
    event,
    payload: new TextEncoder().encode(text)
  })
  yield* settle
})
