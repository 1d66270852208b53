import * as Effect from "effect/Effect"
import type { HostNetwork, HostPlan } from "../../src/host/HostNetwork.ts"
import { superviseForever } from "../../src/loops/superviseForever.ts"

/** Others load their rules anew at any time, which takes ours away. */
const every = "2 seconds"

/** Keeps the gateway's rules in the chains of others, and says where they are put. */
export const keepIntegrated = (host: HostNetwork["Service"], plan: HostPlan): Effect.Effect<never> => {
  const round = Effect.gen(function* () {
    const chains = yield* host.integrate(plan)
    if (chains.size === 0) return
    yield* Effect.logInfo(`accepting rules were put into ${[...chains].join(", ")} (firewall: integrate)`)
  })
  const turn = Effect.andThen(
    Effect.catch(round, (error) => Effect.logWarning(error.message)),
    Effect.sleep(every)
  )
  return superviseForever("Tunnel.integrate", turn)
}
