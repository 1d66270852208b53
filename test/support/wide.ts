/** The wide-area lab: client and gateway behind routers whose address translation a test chooses. */
import { Effect, type Scope } from "effect"
import * as LabLayer from "../../layers/lab/Lab.ts"
import { type Lab, labAddresses, type LabError } from "../../src/lab/demo/Lab.ts"
import { setNat } from "../../src/lab/demo/routers.ts"

export { blockDirect, type Nat, setNat } from "../../src/lab/demo/routers.ts"
export const { wide } = labAddresses

/** Gives the test a wide-area lab of its own, its routers translating like any home router. */
export const inWideLab = <A, E>(effect: Effect.Effect<A, E, Lab | Scope.Scope>): Effect.Effect<A, E | LabError> =>
  Effect.andThen(Effect.all([setNat("client", "restricted"), setNat("gateway", "restricted")]), effect).pipe(
    Effect.scoped,
    Effect.provide(LabLayer.layerOf("wide"), { local: true })
  )
