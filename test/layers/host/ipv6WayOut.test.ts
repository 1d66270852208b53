import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { TestClock } from "effect/testing"
import * as IpFamiliesLive from "../../../layers/host/IpFamilies.ts"
import { followWayOut } from "../../../layers/host/ipv6WayOut.ts"
import { IpFamilies } from "../../../src/host/IpFamilies.ts"
import { type Network, parseNetwork } from "../../../src/packet/address.ts"

const somewhere = [parseNetwork("fd77::/64")!]

/** A host whose routes and forwarding can be changed, and what is known of it. */
const followed = Effect.fnUntraced(function* (ways: ReadonlyArray<Network>, forwards = true) {
  const families = yield* IpFamilies
  const host = { ways, forwards, happened: 0, looks: 0 }
  const start = followWayOut({
    ways: () => {
      host.looks++
      return host.ways
    },
    forwards: () => host.forwards,
    happened: () => host.happened
  })
  return { host, start, why: () => families.ipv6().wayOut?.why ?? null, families }
})

describe("the way out for IPv6", () => {
  it.effect("is known before anything else starts: not a moment without a route are there IPv6 addresses", () =>
    Effect.gen(function* () {
      const { families, start, why } = yield* followed([])
      yield* start
      assert.match(why() ?? "", /IPv6 has no way out of this host/)
      assert.isFalse(families.leadsTo("fd77::1"))
    }).pipe(Effect.scoped, Effect.provide(IpFamiliesLive.layer))
  )

  it.effect("is none where the host does not forward", () =>
    Effect.gen(function* () {
      const { start, why } = yield* followed(somewhere, false)
      yield* start
      assert.match(why() ?? "", /IPv6 is not forwarded by this host/)
    }).pipe(Effect.scoped, Effect.provide(IpFamiliesLive.layer))
  )

  it.effect("is followed: there at the next look, and gone when it is gone for three", () =>
    Effect.gen(function* () {
      const { families, host, start, why } = yield* followed([])
      yield* start
      host.ways = somewhere
      host.happened++
      yield* TestClock.adjust("1 second")
      assert.isNull(why())
      assert.deepStrictEqual(["fd77::1", "2001:db8::1"].map(families.leadsTo), [true, false])

      host.ways = []
      host.happened++
      yield* TestClock.adjust("2 seconds")
      assert.isNull(why())
      yield* TestClock.adjust("1 second")
      assert.isNotNull(why())
    }).pipe(Effect.scoped, Effect.provide(IpFamiliesLive.layer))
  )

  it.effect("is looked at when something has happened, or else every five seconds", () =>
    Effect.gen(function* () {
      const { host, start, why } = yield* followed(somewhere)
      yield* start
      yield* TestClock.adjust("60 seconds")
      assert.strictEqual(host.looks, 13)
      host.forwards = false
      yield* TestClock.adjust("8 seconds")
      assert.match(why() ?? "", /IPv6 is not forwarded by this host/)
    }).pipe(Effect.scoped, Effect.provide(IpFamiliesLive.layer))
  )

  it.effect("is not told beside a device that has no IPv6 itself", () =>
    Effect.gen(function* () {
      const { families, start, why } = yield* followed([])
      yield* families.found("device", "switched off")
      yield* start
      assert.isNull(why())
    }).pipe(Effect.scoped, Effect.provide(IpFamiliesLive.layer))
  )
})
