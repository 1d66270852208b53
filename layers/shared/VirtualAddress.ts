/** `VirtualAddress`, of which nothing is known at first. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { monotonicMillis } from "../../src/loops/monotonic.ts"
import { VirtualAddress } from "../../src/shared/VirtualAddress.ts"

export const layer: Layer.Layer<VirtualAddress> = Layer.effect(
  VirtualAddress,
  Effect.gen(function* () {
    const ref = yield* SubscriptionRef.make<ReturnType<VirtualAddress["Service"]["told"]>>(null)
    const told = () => SubscriptionRef.getUnsafe(ref)
    return VirtualAddress.of({
      told,
      tell: Effect.fnUntraced(function* (state) {
        if (told()?.state === state) return
        yield* SubscriptionRef.set(ref, { state, since: yield* monotonicMillis })
        yield* Effect.logInfo(
          state === "MASTER"
            ? "this gateway has the site's virtual address: it takes over"
            : "this gateway does not have the site's virtual address"
        ).pipe(Effect.annotateLogs({ state }))
      }),
      changes: Stream.flatMap(SubscriptionRef.changes(ref), (now) =>
        now === null ? Stream.empty : Stream.make(now.state)
      )
    })
  })
)
