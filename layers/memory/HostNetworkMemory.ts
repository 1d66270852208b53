/** `HostNetwork` without a host: for tests and for gateways that live in memory. Nothing is configured, nothing can fail. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import { HostNetwork, type HostPlan } from "../../src/host/HostNetwork.ts"

export interface SimulatedHost {
  /** The plans in force, oldest first. */
  readonly plans: ReadonlyArray<HostPlan>
  /** Gives the host other addresses, which completes `changed`. */
  readonly setAddresses: (addresses: ReadonlyArray<string>) => void
  readonly layer: Layer.Layer<HostNetwork>
}

/** A host with these addresses; a configured gateway adds its own two for as long as its scope lives. */
export const make = (addresses: ReadonlyArray<string> = ["127.0.0.1", "::1"]): SimulatedHost => {
  const plans: Array<HostPlan> = []
  const news = Effect.runSync(Queue.sliding<void>(1))
  let own = addresses
  return {
    plans,
    setAddresses: (next) => {
      own = next
      Queue.offerUnsafe(news, undefined)
    },
    layer: Layer.succeed(
      HostNetwork,
      HostNetwork.of({
        configure: (plan) =>
          Effect.as(
            Effect.acquireRelease(
              Effect.sync(() => void plans.push(plan)),
              () => Effect.sync(() => void plans.splice(plans.indexOf(plan), 1))
            ),
            []
          ),
        lookAtRanges: Effect.void,
        ownAddresses: Effect.sync(() => [...own, ...plans.flatMap((plan) => [plan.gateway4, plan.gateway6])]),
        broadcasts: Effect.succeed([]),
        uplinkAddresses: (reachedFrom) => Effect.succeed(reachedFrom === null ? [] : [reachedFrom]),
        changed: Queue.take(news)
      })
    )
  }
}
