/**
 * `HostNetwork` by iproute2, nftables and /proc/sys. Needs CAP_NET_ADMIN, which the helpers must inherit (ambient
 * capabilities). Sysctls are only ever raised, and left that way at the end: other services may rely on them by then.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import { broadcastAddresses } from "../../src/host/broadcastAddresses.ts"
import { removeScript } from "../../src/host/firewall.ts"
import { ForeignNetworks } from "../../src/host/ForeignNetworks.ts"
import { HostError, HostNetwork } from "../../src/host/HostNetwork.ts"
import { IpFamilies } from "../../src/host/IpFamilies.ts"
import { countingScript, countingTable } from "../../src/host/pathCounters.ts"
import { superviseForever } from "../../src/loops/superviseForever.ts"
import { NativeError } from "../dataplane/native/nativeError.ts"
import { blame } from "./foreignFirewall.ts"
import { listInterfaces, ownAddresses, uplinks } from "./hostAddresses.ts"
import { allRight, configure, type InForce, lookAgain, refilter, repair } from "./hostInForce.ts"
import { makeHostLook } from "./hostLook.ts"
import { integrate } from "./integrateFirewall.ts"
import { followWayOut, ipv6Host } from "./ipv6WayOut.ts"
import { nft } from "./nftables.ts"
import { watchHost } from "./watchHost.ts"

export const layer: Layer.Layer<HostNetwork, never, ForeignNetworks | IpFamilies> = Layer.effect(
  HostNetwork,
  Effect.gen(function* () {
    const context = Context.make(IpFamilies, yield* IpFamilies).pipe(
      Context.add(ForeignNetworks, yield* ForeignNetworks)
    )
    const look = yield* makeHostLook
    const news = yield* Queue.sliding<void>(1)
    const stirs = yield* Queue.sliding<void>(1)
    let inForce: InForce | null = null
    /** The state of the host's rules to which nothing was to be added. */
    let integrated: number | null = null
    yield* Effect.forkScoped(
      superviseForever(
        "HostNetwork.watch",
        watchHost(look, () => inForce, news, stirs)
      )
    )
    return HostNetwork.of({
      configure: (plan) =>
        Effect.gen(function* () {
          const set = yield* Effect.provideContext(configure(look, plan), context)
          yield* Effect.acquireRelease(
            Effect.sync(() => void (inForce = set.inForce)),
            () => Effect.sync(() => void (inForce = null))
          )
          yield* Effect.provideContext(followWayOut(ipv6Host(plan.device, look.happened)), context)
          return set.warnings
        }),
      lookAtRanges: Effect.suspend(() =>
        inForce === null ? Effect.void : Effect.provideContext(lookAgain(look, inForce), context)
      ),
      refilter: (allowGatewayHost) =>
        Effect.suspend(() =>
          inForce === null ? Effect.void : Effect.provideContext(refilter(look, inForce, allowGatewayHost), context)
        ),
      repair: (remakeDevice) =>
        Effect.suspend(() =>
          inForce === null
            ? Effect.succeed(allRight)
            : Effect.provideContext(repair(look, inForce, remakeDevice), context)
        ),
      stirred: Queue.take(stirs),
      integrate: (plan) =>
        Effect.gen(function* () {
          const generation = look.generation()
          if (generation !== null && generation === integrated) return new Set<string>()
          const added = yield* integrate(plan)
          integrated = added.size === 0 ? generation : null
          return added
        }),
      rulesGeneration: Effect.sync(look.generation),
      countPaths: Effect.fnUntraced(function* (plan, on) {
        const before = look.generation()
        yield* nft(on ? countingScript(plan) : removeScript(countingTable(plan.device)))
        const after = look.generation()
        if (before === null || after !== before + 1) return
        // Nobody has to look at the rules for this change.
        if (inForce?.generation === before) inForce.generation = after
        if (integrated === before) integrated = after
      }),
      pathCounts: ({ device }) =>
        Effect.suspend(() => {
          const counts = look.paths(countingTable(device))
          return counts instanceof NativeError
            ? Effect.fail(new HostError({ message: counts.message }))
            : Effect.succeed(counts)
        }),
      blame,
      ownAddresses,
      broadcasts: Effect.map(listInterfaces, broadcastAddresses),
      uplinkAddresses: uplinks,
      // A change comes as a burst of events: one completion for all of it.
      changed: Queue.take(news).pipe(Effect.andThen(Effect.sleep("200 millis")), Effect.andThen(Queue.clear(news)))
    })
  })
)
