/** `TunnelInterface` over the host: device, routes and firewall, the packet path's policy, the DNS service on 53535. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import { packetPolicy } from "../../src/control/firezone/packetPolicy.ts"
import { TunnelInterface } from "../../src/control/firezone/TunnelInterface.ts"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import type { DataPlaneError } from "../../src/dataplane/DataPlaneError.ts"
import { type DnsHandler, type DnsSocketError, DnsSockets } from "../../src/host/DnsSockets.ts"
import { type HostError, HostNetwork } from "../../src/host/HostNetwork.ts"
import { superviseForever } from "../../src/loops/superviseForever.ts"
import { defaultRanges } from "../../src/model/ranges.ts"
import { makeHostCandidates } from "./hostCandidates.ts"

export interface TunnelInterfaceOptions {
  readonly device: string
  readonly mtu: number
  readonly firewall: "nftables" | "off"
  readonly masquerade: boolean
  /** The DNS sockets see only what comes from the device; `false` in memory. */
  readonly bindToDevice: boolean
  readonly dns: DnsHandler
  /** Told of the host's addresses, at first and when they change. */
  readonly onOwnAddresses: (addresses: ReadonlyArray<string>) => void
}

/** Where clients' stub resolvers ask for what they do not answer themselves. */
const portalDnsPort = 53_535
const tunnelNetworks = [defaultRanges.tunnel4, defaultRanges.tunnel6]
const proxyNetworks = [defaultRanges.proxy4, defaultRanges.proxy6]

interface Addresses {
  readonly tunnel4: string
  readonly tunnel6: string
}

export const layer = (
  options: TunnelInterfaceOptions
): Layer.Layer<TunnelInterface, never, DataPlane | DnsSockets | HostNetwork> =>
  Layer.effect(
    TunnelInterface,
    Effect.gen(function* () {
      const { device, firewall, masquerade, mtu } = options
      const dataPlane = yield* DataPlane
      const dnsSockets = yield* DnsSockets
      const host = yield* HostNetwork
      const failed = yield* Deferred.make<never, HostError | DnsSocketError | DataPlaneError>()
      const wanted = yield* Queue.sliding<Addresses>(1)
      const outer = yield* Effect.scope
      let current: Addresses | null = null
      let inner: Scope.Closeable | null = null
      const candidates = yield* makeHostCandidates
      const moved = yield* Queue.sliding<void>(1)

      const tellPolicy = Effect.fnUntraced(function* ({ tunnel4, tunnel6 }: Addresses) {
        const ownAddresses = yield* host.ownAddresses
        options.onOwnAddresses(ownAddresses)
        yield* dataPlane.send({
          _tag: "SetPolicy",
          packets: packetPolicy,
          gateway4: tunnel4,
          gateway6: tunnel6,
          tunnelNetworks,
          proxyNetworks,
          ownAddresses
        })
      })

      /** The first time, or with other addresses than before: what was set up is undone first. */
      const apply = Effect.fnUntraced(function* (addresses: Addresses) {
        if (current?.tunnel4 === addresses.tunnel4 && current.tunnel6 === addresses.tunnel6) return
        if (inner !== null) yield* Scope.close(inner, Exit.void)
        const scope = yield* Scope.fork(outer)
        inner = scope
        const { tunnel4, tunnel6 } = addresses
        const warnings = yield* host
          .configure({
            device,
            mtu,
            gateway4: tunnel4,
            gateway6: tunnel6,
            tunnelNetworks,
            proxyNetworks,
            listenPort: dataPlane.port,
            dnsPort: portalDnsPort,
            firewall,
            masquerade
          })
          .pipe(Scope.provide(scope))
        for (const warning of warnings) yield* Effect.logWarning(warning)
        current = addresses
        yield* tellPolicy(addresses)
        yield* candidates.tell
        const serve = dnsSockets
          .serve({
            addresses: [tunnel4, tunnel6],
            port: portalDnsPort,
            device: options.bindToDevice ? device : null,
            handler: options.dns
          })
          .pipe(Scope.provide(scope))
        yield* Effect.all([dataPlane.start, serve], { concurrency: 2 })
        yield* Effect.logInfo("ready").pipe(Effect.annotateLogs({ device, tunnel4, tunnel6, port: dataPlane.port }))
      })

      yield* superviseForever("Tunnel.configure", Effect.flatMap(Queue.take(wanted), apply)).pipe(
        Effect.catch((error) => Deferred.fail(failed, error)),
        Effect.forkScoped
      )
      const follow = host.changed.pipe(
        Effect.andThen(Effect.suspend(() => (current === null ? Effect.void : tellPolicy(current)))),
        Effect.andThen(candidates.tell),
        Effect.andThen(host.ownAddresses),
        Effect.flatMap((own) => (candidates.hasLost(own) ? Queue.offer(moved, undefined) : Effect.void)),
        Effect.catch((error) => Effect.logError(error.message))
      )
      yield* Effect.forkScoped(superviseForever("Tunnel.host", follow))

      return TunnelInterface.of({
        configure: (tunnel4, tunnel6) => Effect.asVoid(Queue.offer(wanted, { tunnel4, tunnel6 })),
        reachedFrom: (address) =>
          Effect.suspend(() => {
            if (address === candidates.reachedFrom()) return Effect.void
            candidates.setReachedFrom(address)
            // Asking the host takes a while; nothing waits for it.
            return candidates.tell.pipe(
              Effect.catch((error) => Effect.logError(error.message)),
              Effect.forkIn(outer),
              Effect.asVoid
            )
          }),
        moved: Queue.take(moved),
        ready: () => current !== null,
        failure: Deferred.await(failed)
      })
    })
  )
