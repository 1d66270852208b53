import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { atOnce, awaitLater, type Later, mapLater, mapTold, type Told } from "../../src/loops/later.ts"

const toldBy = (later: Later<Told<number>>): Effect.Effect<number> => awaitLater(later)

describe("a value that comes later", () => {
  it.effect("comes to who waits for it, known or found out by a fiber, at once or in a later turn", () =>
    Effect.gen(function* () {
      const laters: ReadonlyArray<Later<Told<number>>> = [
        atOnce(1),
        atOnce(Effect.succeed(2)),
        (tell) => (setTimeout(() => tell(3), 1), () => undefined)
      ]
      assert.deepStrictEqual(yield* Effect.forEach(laters, toldBy), [1, 2, 3])
    })
  )

  it.effect("is given up by who is interrupted while it is not there", () =>
    Effect.gen(function* () {
      let givenUp = 0
      const never: Later<number> = () => () => void givenUp++
      const waiting = yield* Effect.forkChild(awaitLater(never), { startImmediately: true })
      assert.strictEqual(givenUp, 0)
      yield* Fiber.interrupt(waiting)
      assert.strictEqual(givenUp, 1)
    })
  )

  it.effect("is made into another one; what throws is a defect of its effect, and breaks nothing that tells it", () =>
    Effect.gen(function* () {
      const broken = (): number => {
        throw new Error("a bug")
      }
      assert.strictEqual(
        mapTold(1, (n) => n + 1),
        2
      )
      assert.strictEqual(
        yield* toldBy(mapLater(atOnce<Told<number>>(Effect.succeed(1)), (n) => Effect.succeed(n + 1))),
        2
      )
      for (const told of [1, Effect.succeed(1)] satisfies ReadonlyArray<Told<number>>) {
        const exit = yield* Effect.exit(toldBy(mapLater(atOnce<Told<number>>(told), broken)))
        assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      }
    })
  )
})
