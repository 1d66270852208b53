import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { ControlError } from "../../src/cli/ControlClient.ts"
import { type VrrpState, vrrpStates } from "../../src/shared/vrrpState.ts"
import { bodyOf, jsonRoute } from "./controlRoute.ts"

const Notice = Schema.Struct({ state: Schema.Literals(vrrpStates) })

/** `POST /v1/vip`: whether the site's virtual address is here; what follows from that, in words. 409 and why nothing does. */
export const vipRoute = (tell: (state: VrrpState) => Effect.Effect<void, ControlError>) =>
  jsonRoute("POST", "/v1/vip", (request) =>
    Effect.gen(function* () {
      const { state } = yield* bodyOf(request, Notice)
      yield* tell(state)
      return state === "MASTER"
        ? `${state}: the gateway takes over the clients of its site`
        : `${state}: the gateway calls no client that another one has`
    })
  )
