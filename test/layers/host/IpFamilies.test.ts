import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import * as IpFamiliesLive from "../../../layers/host/IpFamilies.ts"
import { IpFamilies, leadsOut6 } from "../../../src/host/IpFamilies.ts"
import { parseNetwork } from "../../../src/packet/address.ts"
import { withLogLines } from "../../support/standalone.ts"

describe("what the host has of IPv6", () => {
  it.effect("is everything until somebody finds otherwise; each change is told once, and to all who follow", () =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        const families = yield* IpFamilies
        assert.deepStrictEqual(families.ipv6(), { sockets: null, device: null, wayOut: null })
        const followed = yield* families.changes.pipe(
          Stream.map(leadsOut6),
          Stream.take(3),
          Stream.runCollect,
          Effect.forkChild({ startImmediately: true })
        )
        yield* TestClock.adjust("5 seconds")
        yield* families.found("device", "switched off")
        yield* families.found("device", "switched off")
        yield* TestClock.adjust("5 seconds")
        yield* families.found("device", "switched off by somebody else")
        assert.strictEqual(families.ipv6().device?.since, 5_000)
        yield* families.found("device", null)

        assert.deepStrictEqual([...(yield* Fiber.join(followed))], [true, false, false])
        assert.deepStrictEqual(
          lines.map((line) => /message=("[^"]*"|\S+)/.exec(line)?.[1]),
          ['"switched off"', '"switched off by somebody else"', '"IPv6 works on the tunnel\'s device again"']
        )
      }).pipe(Effect.provide(IpFamiliesLive.layer))
    )
  )

  it.effect("leads where the host has routes to, and nowhere without a way out", () =>
    Effect.gen(function* () {
      const families = yield* IpFamilies
      assert.isTrue(families.leadsTo("2001:db8::1"))
      families.setWays([parseNetwork("fd77::/64")!])
      assert.deepStrictEqual(["fd77::1", "2001:db8::1"].map(families.leadsTo), [true, false])
      yield* families.found("wayOut", "no route")
      assert.isFalse(families.leadsTo("fd77::1"))
      yield* families.found("wayOut", null)
      families.setWays(null)
      assert.isTrue(families.leadsTo("2001:db8::1"))
    }).pipe(Effect.provide(IpFamiliesLive.layer))
  )
})
