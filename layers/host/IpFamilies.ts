/** `IpFamilies` from the first second on: everything is there until somebody finds otherwise. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { type Ipv6, type Ipv6Part, IpFamilies, leadsOut6 } from "../../src/host/IpFamilies.ts"
import { monotonicMillis } from "../../src/loops/monotonic.ts"
import { contains, type Network, parseAddress } from "../../src/packet/address.ts"

export const layer: Layer.Layer<IpFamilies> = Layer.effect(
  IpFamilies,
  Effect.gen(function* () {
    const state = yield* SubscriptionRef.make<Ipv6>({ sockets: null, device: null, wayOut: null })
    let ways: ReadonlyArray<Network> | null = null
    return IpFamilies.of({
      setWays: (networks) => {
        ways = networks
      },
      leadsTo: (text) => {
        const address = parseAddress(text)
        const there = address !== undefined && (ways === null || ways.some((way) => contains(way, address)))
        return there && leadsOut6(SubscriptionRef.getUnsafe(state))
      },
      ipv6: () => SubscriptionRef.getUnsafe(state),
      found: Effect.fnUntraced(function* (part, why) {
        const before = SubscriptionRef.getUnsafe(state)[part]
        if ((before?.why ?? null) === why) return
        const since = before?.since ?? (yield* monotonicMillis)
        yield* SubscriptionRef.update(state, (all) => ({ ...all, [part]: why === null ? null : { why, since } }))
        yield* why === null ? Effect.logInfo(back[part]) : Effect.logWarning(why)
      }),
      changes: SubscriptionRef.changes(state)
    })
  })
)

const back: Readonly<Record<Ipv6Part, string>> = {
  sockets: "IPv6 has sockets again",
  device: "IPv6 works on the tunnel's device again",
  wayOut: "IPv6 has a way out again: names get IPv6 addresses from now on"
}
