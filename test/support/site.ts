/** The lab of a site: two gateways with one key, an address that is one gateway's at a time, and the site's PostgreSQL. */
import { Effect, type Scope } from "effect"
import * as LabLayer from "../../layers/lab/Lab.ts"
import { type Lab, labAddresses, type LabError } from "../../src/lab/demo/Lab.ts"
import { setNat } from "../../src/lab/demo/routers.ts"

export const { site } = labAddresses

/** Gives the test the lab of a site, of its own; the client's router translates and lets in who was written to. */
export const inSite = <A, E>(effect: Effect.Effect<A, E, Lab | Scope.Scope>): Effect.Effect<A, E | LabError> =>
  Effect.andThen(setNat("client", "restricted"), effect).pipe(
    Effect.scoped,
    Effect.provide(LabLayer.layerOf("site"), { local: true })
  )
