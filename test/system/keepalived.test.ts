/** keepalived moves the address of a site when a gateway dies: what stock clients notice of it. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { inSite } from "../support/site.ts"
import { startTakeOvers } from "../support/takeOvers.ts"

/** From the death of a gateway to the next reply: the second of keepalived's script, the move, and the call. */
const mostMs = 2_000

it.live(
  "clients of a gateway that is killed are at the other one within two seconds, with their connections, also without PostgreSQL, or where its clock is behind",
  () =>
    Effect.gen(function* () {
      const { connections, home, kill, open, postgres, restart, successor } = yield* startTakeOvers
      const lost = yield* connections
      const dies = Effect.gen(function* () {
        const { movedMs, repliedMs } = yield* kill
        yield* Effect.logInfo(`the address moved after ${movedMs} ms, replies after ${JSON.stringify(repliedMs)} ms`)
        for (const ms of Object.values(repliedMs)) assert.isBelow(ms, mostMs)
      })

      yield* successor
      yield* dies

      yield* restart
      yield* successor
      yield* postgres.suspend
      yield* dies
      yield* postgres.resume

      // The clock of who follows is a minute behind that of who has called them last.
      yield* restart
      yield* successor
      yield* dies

      assert.deepStrictEqual(yield* lost, [])
      for (const { proxy, proxyOf } of [home, open]) assert.strictEqual(yield* proxyOf, proxy)
    }).pipe(inSite),
  120_000
)
