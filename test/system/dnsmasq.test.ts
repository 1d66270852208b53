/** The same promises with a foreign name server: dnsmasq started, stopped, changed and black-holed. */
import { assert, layer } from "@effect/vitest"
import { Clock, Effect, Fiber } from "effect"
import { Lab } from "../../src/lab/demo/Lab.ts"
import { startDnsmasq } from "../support/dnsmasq.ts"
import { appName } from "../support/labWorld.ts"
import { blackHoleDns, inner } from "../support/lab.ts"
import { explainAt } from "../support/operator.ts"
import { stage, Stage } from "../support/stage.ts"
import { isDataFrom, isDns, isUnreachableAbout, unreachableAbout } from "../support/wire.ts"

const wait = { timeout: "20 seconds" } as const
const healMs = 2_000
const retry = { every: 100, deadline: 20_000 } as const

const world = stage({
  dns: "none",
  resources: `  intranet: { name: "*.corp.internal", resolver: corp, allow: [visitor] }`,
  more: "zones: { partner.example: corp }"
})

/** Questions about the name that crossed the company's wire. */
const queriesOf = Effect.fnUntraced(function* (name: string) {
  const { lan } = yield* Stage
  return (yield* lan.packets).filter(isDns(name, "query")).length
})

layer(world, { excludeTestServices: true, timeout: "60 seconds" })("with dnsmasq as the company's DNS", (it) => {
  it.effect("a client that came before dnsmasq was started gets through within 2 s of its start", () =>
    Effect.gen(function* () {
      const { tunnel, world } = yield* Stage
      const proxy = yield* world.proxyOf(appName)
      const trying = yield* Effect.forkChild(world.visitor.retry({ address: proxy, ...retry }))
      const told = yield* tunnel.first(isUnreachableAbout(proxy), wait)
      yield* Effect.sleep("5 seconds")

      const back = yield* Clock.currentTimeMillis
      yield* startDnsmasq({ names: { [appName]: [inner.origin.v4, inner.origin.v6] } })
      const { page } = yield* Fiber.join(trying)

      const data = yield* tunnel.first(isDataFrom(proxy), wait)
      assert.strictEqual(unreachableAbout(told!, proxy), "3/0")
      assert.strictEqual(page?.servedBy, inner.origin.v4)
      assert.isAbove(data!.at, back)
      assert.isBelow(data!.at - back, healMs)
    })
  )

  it.effect("open connections outlive a changed answer, new ones follow it after its TTL", () =>
    Effect.gen(function* () {
      const { visitor, ...world } = (yield* Stage).world
      const name = "moving.corp.internal"
      const before = yield* startDnsmasq({ names: { [name]: [inner.origin.v4] }, ttl: 2 })
      const proxy = yield* world.proxyOf(name)
      yield* visitor.openDrip("old", proxy)

      yield* before.stop
      yield* startDnsmasq({ names: { [name]: [inner.otherOrigin.v4] }, ttl: 2 })
      const moved = yield* visitor.retry({ address: proxy, servedBy: inner.otherOrigin.v4, ...retry, deadline: 5_000 })
      const then = yield* visitor.readDrip("old")
      yield* Effect.sleep("1 second")
      const now = yield* visitor.readDrip("old")
      yield* visitor.closeDrip("old")

      assert.isNotNull(moved.page, JSON.stringify(moved.errors))
      assert.deepInclude(now, { ended: null, last: inner.origin.v4 })
      assert.isAtLeast(now.lines, then.lines + 5)
    })
  )

  it.effect("an alias is followed to its addresses", () =>
    Effect.gen(function* () {
      const { visitor, ...world } = (yield* Stage).world
      yield* startDnsmasq({
        names: { "real.corp.internal": [inner.otherOrigin.v4] },
        more: ["cname=alias.corp.internal,real.corp.internal", "cname=www.partner.example,real.corp.internal"]
      })

      const page = yield* visitor.get({ address: yield* world.proxyOf("alias.corp.internal") })
      const outside = yield* visitor.get({ address: yield* world.proxyOf("www.partner.example") })
      const explained = yield* explainAt(`${(yield* Lab).directory}/gateway.sock`, "visitor", "www.partner.example:80")

      assert.strictEqual(page.servedBy, inner.otherOrigin.v4)
      assert.strictEqual(outside.servedBy, inner.otherOrigin.v4)
      assert.strictEqual(explained.reaches, "yes", JSON.stringify(explained))
      assert.include(
        explained.steps.map(({ what }) => what),
        "www.partner.example is an alias of real.corp.internal, by the servers of corp"
      )
    })
  )

  it.effect("a black hole in front of dnsmasq costs few questions, and its end is noticed within 2 s", () =>
    Effect.gen(function* () {
      const { tunnel, world } = yield* Stage
      const name = "swallowed.corp.internal"
      yield* startDnsmasq({ names: { [name]: [inner.otherOrigin.v4] } })
      yield* blackHoleDns(true)
      const proxy = yield* world.proxyOf(name)
      const trying = yield* Effect.forkChild(world.visitor.retry({ address: proxy, ...retry }))
      yield* Effect.sleep("5 seconds")
      const asked = yield* queriesOf(name)

      const back = yield* Clock.currentTimeMillis
      yield* blackHoleDns(false)
      const { page } = yield* Fiber.join(trying)

      const data = yield* tunnel.first(isDataFrom(proxy), wait)
      assert.strictEqual(page?.servedBy, inner.otherOrigin.v4)
      assert.isBelow(data!.at - back, healMs)
      // One lookup, asked again every second, for two record types.
      assert.isAtLeast(asked, 4)
      assert.isAtMost(asked, 14)
    })
  )

  it.effect("a name in use is asked for once per TTL and record type, not per packet", () =>
    Effect.gen(function* () {
      const { visitor, ...world } = (yield* Stage).world
      const name = "busy.corp.internal"
      yield* startDnsmasq({ names: { [name]: [inner.origin.v4] }, ttl: 2 })
      const proxy = yield* world.proxyOf(name)

      const { tries } = yield* visitor.retry({ address: proxy, servedBy: "never", every: 50, deadline: 5_000 })

      const asked = yield* queriesOf(name)
      assert.isAtLeast(tries, 20)
      assert.isAtLeast(asked, 2)
      assert.isAtMost(asked, 8)
    })
  )
})
