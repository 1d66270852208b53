import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { askedByFibers, Upstream } from "../../src/dns/Upstream.ts"

/** An `Upstream` of what a test says; `ask` is `exchange`. */
export const upstreamMock = (parts: Partial<Omit<Upstream["Service"], "ask">>): Layer.Layer<Upstream> =>
  Layer.effect(
    Upstream,
    Effect.gen(function* () {
      const mock = {
        exchange: () => Effect.die("nobody asks"),
        epoch: () => Effect.succeed(0),
        epochAtOnce: () => 0,
        counters: Effect.succeed({}),
        servers: Effect.succeed([]),
        ...parts
      }
      return Upstream.of({ ...mock, ask: yield* askedByFibers(mock.exchange) })
    })
  )
