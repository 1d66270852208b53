import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as VirtualAddressLive from "../../../layers/shared/VirtualAddress.ts"
import { VirtualAddress } from "../../../src/shared/VirtualAddress.ts"
import { withLogLines } from "../../support/standalone.ts"

it.effect(
  "nothing is known of the virtual address until it is told; each change is told on once, and repeats are none",
  () =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        const address = yield* VirtualAddress
        assert.isNull(address.told())
        const followed = yield* address.changes.pipe(
          Stream.take(3),
          Stream.runCollect,
          Effect.forkChild({ startImmediately: true })
        )

        yield* TestClock.adjust("5 seconds")
        yield* address.tell("BACKUP")
        yield* address.tell("MASTER")
        yield* TestClock.adjust("5 seconds")
        yield* address.tell("MASTER")
        assert.deepStrictEqual(address.told(), { state: "MASTER", since: 5_000 })
        yield* address.tell("FAULT")

        assert.deepStrictEqual([...(yield* Fiber.join(followed))], ["BACKUP", "MASTER", "FAULT"])
        assert.deepStrictEqual(
          lines.map((line) => /message="([^"]*)"/.exec(line)?.[1]),
          [
            "this gateway does not have the site's virtual address",
            "this gateway has the site's virtual address: it takes over",
            "this gateway does not have the site's virtual address"
          ]
        )
        // Who follows from now on hears what is first.
        assert.deepStrictEqual(yield* Stream.runCollect(Stream.take(address.changes, 1)), ["FAULT"])
      }).pipe(Effect.provide(VirtualAddressLive.layer))
    )
)
