import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { ControlError } from "../../src/cli/ControlClient.ts"
import type { SharedStore, SharedStoreError } from "../../src/shared/SharedStore.ts"
import { maxGateways } from "../../src/shared/slotZones.ts"
import { bodyOf, jsonRoute } from "./controlRoute.ts"

const Wanted = Schema.Struct({ gateway: Schema.Int })
type Forget = SharedStore["Service"]["forget"]

/** `POST /v1/site/forget`: which gateway the site waits for no more, in words; 409 and why it still does. */
export const forgetRoute = (
  forget: (gateway: number) => Effect.Effect<Effect.Success<ReturnType<Forget>>, SharedStoreError | ControlError>
) =>
  jsonRoute("POST", "/v1/site/forget", (request) =>
    Effect.gen(function* () {
      const { gateway } = yield* bodyOf(request, Wanted)
      if (gateway < 0 || gateway >= maxGateways) {
        return yield* new ControlError({
          message: `${gateway} is no gateway's number — they go from 0 to ${maxGateways - 1}, and sallyport status has them`
        })
      }
      const is = yield* Effect.mapError(forget(gateway), ({ message }) => new ControlError({ message }))
      switch (is) {
        case "Forgotten":
          return `the site waits no more for gateway ${gateway}; what it gave stands, and it is taken back should it come`
        case "Present":
          return yield* new ControlError({
            message: `gateway ${gateway} is connected to PostgreSQL at this moment — stop it first`
          })
        case "Unknown":
          return yield* new ControlError({
            message: `the site has had no gateway ${gateway} — sallyport status has the numbers`
          })
      }
    })
  )
