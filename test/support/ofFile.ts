import { Effect, Exit, Scope } from "effect"
import { afterAll, beforeAll } from "vitest"

/**
 * What all tests of a file share, or of the `describe` that this is called in: made before the first one, ended after the
 * last one. Its properties are there as soon as a test runs.
 */
export const ofFile = <A extends object, E>(make: Effect.Effect<A, E, Scope.Scope>): A => {
  const scope = Scope.makeUnsafe()
  const made = {} as A
  beforeAll(async () => void Object.assign(made, await Effect.runPromise(Scope.provide(make, scope))), 60_000)
  afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)), 60_000)
  return made
}
