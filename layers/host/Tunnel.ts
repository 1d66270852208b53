import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Semaphore from "effect/Semaphore"
import { Destinations } from "../../src/access/Destinations.ts"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import { type DnsHandler, DnsSockets } from "../../src/host/DnsSockets.ts"
import { ForeignNetworks } from "../../src/host/ForeignNetworks.ts"
import { HostNetwork } from "../../src/host/HostNetwork.ts"
import { IpFamilies, leadsOut6 } from "../../src/host/IpFamilies.ts"
import { hostPlanOf, Tunnel, type TunnelPlan } from "../../src/host/Tunnel.ts"
import { superviseForever } from "../../src/loops/superviseForever.ts"
import { parseAddress, parseNetwork } from "../../src/packet/address.ts"
import { makeHostCandidates } from "./hostCandidates.ts"
import { makeHostKeeper } from "./keepHost.ts"
import { keepIntegrated } from "./keepIntegrated.ts"
import { makePathWatch } from "./watchPaths.ts"

export interface TunnelOptions {
  /** The TUN device, opened by the data plane's layer. */
  readonly device: string
  readonly mtu: number
  /** The DNS sockets see only what comes from the device; `false` in memory. */
  readonly bindToDevice: boolean
}

export const layer = (
  options: TunnelOptions
): Layer.Layer<Tunnel, never, DataPlane | Destinations | DnsSockets | ForeignNetworks | HostNetwork | IpFamilies> =>
  Layer.effect(
    Tunnel,
    Effect.gen(function* () {
      const { device, mtu } = options
      const dataPlane = yield* DataPlane
      const destinations = yield* Destinations
      const dnsSockets = yield* DnsSockets
      const families = yield* IpFamilies
      const foreign = yield* ForeignNetworks
      const host = yield* HostNetwork
      const candidates = yield* makeHostCandidates
      const moved = yield* Queue.sliding<void>(1)
      const outer = yield* Effect.scope
      const turn = Semaphore.makeUnsafe(1)
      let toldWayOut6 = true
      // The keeper takes what changes while it makes the gateway's table for a change of that table.
      const countPaths: typeof host.countPaths = (...how) => turn.withPermit(host.countPaths(...how))
      const paths = makePathWatch({ ...host, countPaths }, dataPlane)
      /** `isTorn`: whether the host has its firewall yet is not known. */
      let current: { readonly plan: TunnelPlan; readonly scope: Scope.Closeable; readonly isTorn?: boolean } | null =
        null
      let served: { readonly handler: DnsHandler; readonly scope: Scope.Closeable } | null = null
      /** Sockets that are lost later are told as what is wrong with the host. */
      let ready = false

      /** The host's own addresses to those who judge destinations, its uplinks to those who look for paths. */
      const tell = Effect.fnUntraced(function* (plan: TunnelPlan, ownAddresses: ReadonlyArray<string>) {
        const broadcasts = yield* host.broadcasts
        const { gateway4, gateway6, hostCandidates, packets, ranges } = plan
        const foreignNetworks = foreign.list().map(({ network }) => network)
        toldWayOut6 = leadsOut6(families.ipv6())
        destinations.setForeign(foreignNetworks.flatMap((text) => parseNetwork(text) ?? []))
        destinations.setBroadcasts(broadcasts.flatMap((text) => parseAddress(text) ?? []))
        destinations.setOwnAddresses(ownAddresses.flatMap((text) => parseAddress(text) ?? []))
        yield* dataPlane.send({
          _tag: "SetPolicy",
          packets,
          gateway4,
          gateway6,
          tunnelNetworks: [ranges.tunnel4, ranges.tunnel6],
          proxyNetworks: [ranges.proxy4, ranges.proxy6],
          foreignNetworks,
          ownAddresses,
          broadcasts,
          wayOut6: toldWayOut6
        })
        if (hostCandidates) yield* candidates.tell
      })

      const isInForce = (plan: TunnelPlan): boolean =>
        current?.isTorn !== true && JSON.stringify(current?.plan) === JSON.stringify(plan)

      const configure = Effect.fnUntraced(function* (plan: TunnelPlan) {
        if (isInForce(plan)) return false
        if (current !== null) {
          const { scope } = current
          const { allowGatewayHost } = plan
          if (JSON.stringify({ ...current.plan, allowGatewayHost }) === JSON.stringify(plan)) {
            current = { plan, scope, isTorn: true }
            yield* host.refilter(allowGatewayHost)
            current = { plan, scope }
            return true
          }
          current = null
          served = null
          ready = false
          yield* Scope.close(scope, Exit.void)
        }
        const scope = yield* Scope.fork(outer)
        const hostPlan = hostPlanOf(plan, { device, mtu, listenPort: dataPlane.port })
        const warnings = yield* host.configure(hostPlan).pipe(Scope.provide(scope))
        for (const warning of warnings) yield* Effect.logWarning(warning)
        yield* Effect.forkIn(paths.watch(hostPlan), scope)
        if (plan.firewall === "integrate") yield* Effect.forkIn(keepIntegrated(host, hostPlan), scope)
        current = { plan, scope }
        yield* tell(plan, yield* host.ownAddresses)
        return true
      })

      const serve = Effect.fnUntraced(function* (handler: DnsHandler) {
        if (current === null) return yield* Effect.die("the tunnel has no addresses yet")
        const { plan } = current
        const scope = yield* Scope.fork(current.scope)
        served = { handler, scope }
        yield* dnsSockets
          .serve({
            addresses: [plan.gateway4, plan.gateway6],
            port: plan.packets.dnsPort,
            device: options.bindToDevice ? device : null,
            sharesPort: plan.packets.dnsPort === dataPlane.port,
            handler
          })
          .pipe(Scope.provide(scope))
        ready = true
      })

      /** Sockets are bound to a device, not to its name. */
      const serveAgain = Effect.gen(function* () {
        if (served === null) return null
        yield* Scope.close(served.scope, Exit.void)
        return yield* Effect.match(serve(served.handler), {
          onFailure: (error) => error.message,
          onSuccess: () => null
        })
      })
      const keeper = makeHostKeeper(host, dataPlane, serveAgain)
      yield* Effect.forkScoped(
        superviseForever("Tunnel.keep", Effect.andThen(host.stirred, turn.withPermit(keeper.round)))
      )

      let toldWhy = ""
      const hostChanged = Effect.gen(function* () {
        // What somebody else has put in the place of ours is no use that the host makes of the ranges.
        yield* keeper.round
        yield* host.lookAtRanges
        const ownAddresses = yield* host.ownAddresses
        if (current !== null) yield* tell(current.plan, ownAddresses)
        if (candidates.hasLost(ownAddresses)) yield* Queue.offer(moved, undefined)
        toldWhy = ""
      }).pipe(
        Effect.catch(({ message }) => {
          if (message === toldWhy) return Effect.void
          toldWhy = message
          return Effect.logError(message)
        }),
        (changed) => turn.withPermit(changed)
      )
      const follow = Effect.andThen(host.changed, hostChanged)
      yield* Effect.forkScoped(superviseForever("Tunnel.host", follow))

      const familiesChanged = families.changes.pipe(
        Stream.filter((ipv6) => leadsOut6(ipv6) !== toldWayOut6),
        Stream.runForEach(() => hostChanged)
      )
      yield* Effect.forkScoped(superviseForever("Tunnel.families", familiesChanged))

      return Tunnel.of({
        configure: (plan) =>
          // What is in force waits for nobody, such as who puts the host right again and again.
          Effect.suspend(() => (isInForce(plan) ? Effect.succeed(false) : turn.withPermit(configure(plan)))),
        serve: (handler) => turn.withPermit(serve(handler)),
        kept: Effect.sync(keeper.kept),
        firewall: Effect.sync(paths.report),
        ready: () => ready,
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
        moved: Queue.take(moved)
      })
    })
  )
