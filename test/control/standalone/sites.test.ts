/** Gateways of two sites: whose slice of the proxy IPs a name has, and who translates it. */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import { TestClock } from "effect/testing"
import * as SharedStoreMemory from "../../../layers/memory/SharedStoreMemory.ts"
import { defaultNetwork } from "../../../src/config/GatewayConfig.ts"
import { proxyNetworks, slotCapacity, slotOf } from "../../../src/control/standalone/proxyPool.ts"
import { StateStore } from "../../../src/host/StateStore.ts"
import { maxSites, slotZones } from "../../../src/shared/slotZones.ts"
import { dnsResource } from "../../support/access.ts"
import { aMoment, disk, memberOf, startNames as start } from "../../support/memorySite.ts"
import { berlin, configAt, type Served, tokyo } from "../../support/memorySites.ts"
import { openStore } from "../../support/sharedStore.ts"
import { configOf, withLogLines } from "../../support/standalone.ts"

const ranges = proxyNetworks(defaultNetwork)
const zones = Result.getOrThrow(slotZones(slotCapacity(ranges), maxSites))
const siteOf = (address: string) => zones.siteOf(slotOf(address, ranges))

const served: Served = {
  berlin: [dnsResource("*.berlin.corp"), dnsResource("git.corp"), dnsResource("*.shared.corp")],
  tokyo: [dnsResource("*.tokyo.corp"), dnsResource("wiki.corp"), dnsResource("db.shared.corp")]
}

const startBoth = Effect.fnUntraced(function* (of = served) {
  const site = new SharedStoreMemory.SiteMemory()
  return {
    site,
    berlin: yield* start(site, yield* disk, configAt(berlin, of)),
    tokyo: yield* start(site, yield* disk, configAt(tokyo, of))
  }
})

describe("gateways of two sites", () => {
  it.effect(
    "tell a name at an address of the site that serves it, whichever is asked, and only that one translates it",
    () =>
      Effect.gen(function* () {
        const both = yield* startBoth()
        for (const [name, site] of [
          ["app.berlin.corp", berlin],
          ["app.tokyo.corp", tokyo]
        ] as const) {
          for (const asked of ["berlin", "tokyo"] as const) {
            const proxies = yield* both[asked].told(name)
            assert.lengthOf(proxies, 4)
            assert.deepStrictEqual([...new Set(proxies.map(siteOf))], [site.number], `${name} asked in ${asked}`)
            const [first = ""] = proxies
            assert.strictEqual(yield* both.berlin.owner(first), site === berlin ? name : undefined)
            assert.strictEqual(yield* both.tokyo.owner(first), site === tokyo ? name : undefined)
          }
        }
      })
  )

  it.effect("tell exact names the same proxies without each other", () =>
    Effect.gen(function* () {
      const both = yield* startBoth()
      yield* both.site.leave

      for (const name of ["git.corp", "wiki.corp"]) {
        const proxies = yield* both.berlin.told(name)
        assert.lengthOf(proxies, 4)
        assert.deepStrictEqual(yield* both.tokyo.told(name), proxies)
      }
    })
  )

  it.effect("serve a name where the most specific resource is", () =>
    Effect.gen(function* () {
      const both = yield* startBoth()
      assert.deepStrictEqual((yield* both.berlin.told("db.shared.corp")).map(siteOf), [1, 1, 1, 1])
      assert.deepStrictEqual((yield* both.tokyo.told("web.shared.corp")).map(siteOf), [0, 0, 0, 0])
    })
  )

  it.effect("go on telling names of a site that is away", () =>
    Effect.gen(function* () {
      const both = yield* startBoth()
      yield* both.site.leave
      const names = Array.from({ length: 20 }, (_, i) => `n${i}.tokyo.corp`)
      const told = yield* Effect.forEach(names, both.berlin.told)
      assert.lengthOf(new Set(told.flat()), 80)
      yield* both.site.comeBack
    })
  )

  it.effect("use up no more than 16 blocks of another site, and of their own all that they need", () =>
    Effect.gen(function* () {
      const site = new SharedStoreMemory.SiteMemory()
      const { directory, state } = yield* disk
      const member = memberOf(site, directory, configAt(berlin, served)).pipe(Layer.provide(state))
      const gateway = Context.get(yield* Layer.build(Layer.fresh(member)), StateStore)
      const others = yield* openStore(SharedStoreMemory.layer(site))
      for (const { number } of [berlin, tokyo]) {
        const { from, to } = zones.block(zones.blocks(number).from)
        for (let n = 0; n < 20; n++) {
          yield* gateway.reserveSlots("alice", to - from, number)
          yield* aMoment
        }
      }

      const free = (number: number) => others.lease(0, zones.blocks(number))
      assert.isAtLeast((yield* free(berlin.number))!, zones.blocks(berlin.number).from + 20)
      assert.strictEqual(yield* free(tokyo.number), zones.blocks(tokyo.number).from + 16)
    })
  )

  it.effect("tell a name that has moved at an address of its new site, where it is translated", () =>
    Effect.gen(function* () {
      // No name is as old as the test clock's epoch.
      yield* TestClock.adjust("2 hours")
      const site = new SharedStoreMemory.SiteMemory()
      const [ofBerlin, ofTokyo] = [yield* disk, yield* disk]
      const before = yield* Effect.scoped(
        Effect.gen(function* () {
          const gateway = yield* start(site, ofBerlin, configAt(berlin, served))
          return yield* gateway.told("git.corp")
        })
      )
      const moved: Served = {
        berlin: [dnsResource("*.berlin.corp")],
        tokyo: [...served.tokyo, dnsResource("git.corp")]
      }

      const atBerlin = yield* start(site, ofBerlin, configAt(berlin, moved))
      const atTokyo = yield* start(site, ofTokyo, configAt(tokyo, moved))

      const after = yield* atBerlin.told("git.corp")
      assert.deepStrictEqual([before.map(siteOf), after.map(siteOf)], [Array(4).fill(0), Array(4).fill(1)])
      assert.strictEqual(yield* atTokyo.owner(after[0]!), "git.corp")
      assert.isUndefined(yield* atBerlin.owner(before[0]!), "Berlin has no right to it any more")
    })
  )

  it.effect("of which one leaves go on: it tells what it told, and gives no address that others give", () =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        const [site, of] = [new SharedStoreMemory.SiteMemory(), yield* disk]
        const others = [
          yield* start(site, yield* disk, configAt(berlin, served)),
          yield* start(site, yield* disk, configAt(tokyo, served))
        ]
        const inSite = yield* Effect.scoped(
          Effect.flatMap(start(site, of, configAt(tokyo, served)), ({ told }) => told("app.tokyo.corp"))
        )

        const alone = yield* start(null, of, configOf([...served.berlin, ...served.tokyo]))

        assert.deepStrictEqual(yield* alone.told("app.tokyo.corp"), inSite)
        assert.include(lines.join("\n"), "of each client's addresses it gives the ")
        const given = yield* Effect.forEach([alone, ...others], ({ told }, i) =>
          Effect.forEach([berlin, tokyo], ({ name }) =>
            Effect.forEach([1, 2, 3, 4, 5], (n) => told(`n${n}-${i}.${name}.corp`))
          )
        )
        assert.lengthOf(new Set(given.flat(3)), 3 * 2 * 5 * 4)
        for (const other of others) assert.isUndefined(yield* other.owner(given[0]![0]![0]![0]!))
      })
    )
  )
})
