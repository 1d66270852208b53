/** `IpFamilies` from the first second on: everything is there until somebody finds otherwise. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { type Ipv6, type Ipv6Part, IpFamilies } from "../../src/host/IpFamilies.ts"

export const layer: Layer.Layer<IpFamilies> = Layer.effect(
  IpFamilies,
  Effect.gen(function* () {
    const state = yield* SubscriptionRef.make<Ipv6>({ sockets: null, device: null, wayOut: null })
    return IpFamilies.of({
      ipv6: () => SubscriptionRef.getUnsafe(state),
      found: Effect.fnUntraced(function* (part, why) {
        const before = SubscriptionRef.getUnsafe(state)[part]
        if ((before?.why ?? null) === why) return
        const since = before?.since ?? (yield* Clock.currentTimeMillis)
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
