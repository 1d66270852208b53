/** Keeps the service manager informed for as long as the gateway lives. */
import * as Effect from "effect/Effect"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import { nextNotice, nothingTold } from "../../src/host/serviceStanding.ts"
import { ServiceManager } from "../../src/host/ServiceManager.ts"
import { monotonicMillis } from "../../src/loops/monotonic.ts"
import type { ReadinessPart } from "../../src/monitor/readiness.ts"
import { superviseForever } from "../../src/loops/superviseForever.ts"
import { ready } from "./ready.ts"

const lookEvery = "1 second"

/** Ends with the scope; looks at once. `needs`: without what the gateway is not ready. */
export const tellService = Effect.fnUntraced(function* (needs: ReadonlyArray<ReadinessPart["part"]>) {
  const manager = yield* ServiceManager
  if (manager === null) return
  let told = nothingTold
  const look = Effect.gen(function* () {
    const clients = [...(yield* (yield* DataPlane).clients).values()]
    const standing = {
      needs,
      parts: yield* ready,
      connected: clients.filter(({ connected }) => connected).length
    }
    const next = nextNotice(standing, told, manager.watchdogMs, yield* monotonicMillis)
    if (next !== null && (yield* manager.tell(next.notice))) told = next.told
  })
  yield* Effect.forkScoped(superviseForever("ServiceManager.look", Effect.andThen(look, Effect.sleep(lookEvery))), {
    startImmediately: true
  })
})
