import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Upstream } from "../../src/dns/Upstream.ts"
import { SetProbe } from "../../src/resolution/SetProbe.ts"
import { askWhetherAlive, hasAnswered } from "./askWhetherAlive.ts"

/** No longer than packets wait for a lookup. */
const probeMs = 4_000

export const layer: Layer.Layer<never, never, Upstream> = Layer.effect(
  SetProbe,
  Effect.map(
    Upstream,
    (upstream) => (resolver: string) => Effect.map(askWhetherAlive(upstream, resolver, probeMs), hasAnswered)
  )
)
