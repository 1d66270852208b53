import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { ControlError } from "../../src/cli/ControlClient.ts"
import type { SiteMember } from "../../src/shared/Site.ts"
import { bodyOf, jsonRoute } from "./controlRoute.ts"

const Wanted = Schema.Struct({ gateway: Schema.Int })

/** `POST /v1/site/forget`: which gateway the site waits for no more, in words; 409 and why it still does. */
export const forgetRoute = (site: Pick<SiteMember, "forget"> | null) =>
  jsonRoute("POST", "/v1/site/forget", (request) =>
    Effect.gen(function* () {
      const { gateway } = yield* bodyOf(request, Wanted)
      if (site === null) {
        return yield* new ControlError({ message: "this gateway has no site — name one in its file (state:)" })
      }
      const is = yield* Effect.mapError(site.forget(gateway), ({ message }) => new ControlError({ message }))
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
