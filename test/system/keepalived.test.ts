/** keepalived moves the address of a site when a gateway dies: what stock clients notice of it. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { Lab } from "../../src/lab/demo/Lab.ts"
import { inSite, until } from "../support/site.ts"
import { startTakeOvers } from "../support/takeOvers.ts"

/** From the death of a gateway to the next reply: the second of keepalived's script, the move, and the call. */
const mostMs = 2_000
/** From the drain to the move: two of keepalived's questions, and until who has the address is overruled. */
const mostMovedMs = 5_000

it.live(
  "clients of a gateway that is killed or drained are at the other one within two seconds, with their connections, also without PostgreSQL, or where its clock is behind",
  () =>
    Effect.gen(function* () {
      const lab = yield* Lab
      const { connections, gateways, home, keepalived, kill, loses, open, postgres, restart, successor } =
        yield* startTakeOvers
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

      // Nobody moves the address but keepalived, which sees that the gateway is not ready.
      yield* restart
      yield* successor
      const drain = [...lab.program("sallyport"), "drain", "--socket"]
      const { movedMs, repliedMs } = yield* loses((host) =>
        Effect.andThen(lab.exec(host, [...drain, `${lab.directory}/${host}.sock`]), postgres.suspend)
      )
      yield* Effect.logInfo(`drained: the address moved after ${movedMs} ms`)
      assert.isBelow(movedMs, mostMovedMs)
      for (const ms of Object.values(repliedMs)) assert.isBelow(ms, 500)
      for (const { replyAfter } of [home, open]) assert.isBelow((yield* replyAfter(Date.now())) - Date.now(), 500)
      yield* postgres.resume
      yield* until(gateways.otherGateway, ({ site }) => site!.draining!.clients === 0)

      assert.deepStrictEqual(yield* lost, [])
      for (const { output } of keepalived) assert.notInclude(yield* output, "SECURITY VIOLATION")
      for (const { proxy, proxyOf } of [home, open]) assert.strictEqual(yield* proxyOf, proxy)
    }).pipe(inSite),
  180_000
)
