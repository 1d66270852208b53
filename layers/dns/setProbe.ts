import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { recordType } from "../../src/dns/registry.ts"
import { Upstream } from "../../src/dns/Upstream.ts"
import { SetProbe } from "../../src/resolution/SetProbe.ts"

/** No longer than packets wait for a lookup. */
const probeMs = 4_000

/** Asks for the root's servers, which every server has, or refuses at once. */
export const layer: Layer.Layer<never, never, Upstream> = Layer.effect(
  SetProbe,
  Effect.map(
    Upstream,
    (upstream) => (resolver: string) =>
      Effect.match(upstream.exchange(resolver, { domain: ".", type: recordType.NS }, probeMs), {
        onSuccess: () => true,
        onFailure: ({ reason }) => reason._tag === "ServerFailure"
      })
  )
)
