import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { ControlError } from "../../src/cli/ControlClient.ts"
import type { Presence } from "../../src/shared/Presence.ts"
import { bodyOf, jsonRoute } from "./controlRoute.ts"

const Wanted = Schema.Struct({ drain: Schema.Boolean, force: Schema.optionalKey(Schema.Boolean) })
type Drain = NonNullable<Context.Service.Shape<typeof Presence>>["drain"]

/** `POST /v1/drain`: what giving the clients away, or no more, has led to, in words; 409 and why it is not done. */
export const drainRoute = (drain: Omit<Drain, "standing"> | ControlError) =>
  jsonRoute("POST", "/v1/drain", (request) =>
    Effect.gen(function* () {
      const wanted = yield* bodyOf(request, Wanted)
      if (drain instanceof ControlError) return yield* drain
      if (!wanted.drain) return yield* drain.end
      const begun = drain.begin(wanted.force ?? false)
      return yield* Effect.mapError(begun, ({ message }) => new ControlError({ message }))
    })
  )
