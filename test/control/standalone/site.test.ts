/** Gateways of one site: what each tells its clients of names, and what it translates. */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Scheduler from "effect/Scheduler"
import type * as Scope from "effect/Scope"
import { TestClock } from "effect/testing"
import * as DataPlaneRecording from "../../../layers/memory/DataPlaneRecording.ts"
import * as SharedStoreMemory from "../../../layers/memory/SharedStoreMemory.ts"
import { Authorizations } from "../../../src/access/Authorizations.ts"
import type { GatewayConfig } from "../../../src/config/GatewayConfig.ts"
import { policyDifference } from "../../../src/control/standalone/policyDifference.ts"
import { TunnelNames } from "../../../src/control/standalone/TunnelNames.ts"
import { proxyIpsOf, proxyNetworks, slotCapacity } from "../../../src/control/standalone/proxyPool.ts"
import { StateError, StateStore } from "../../../src/host/StateStore.ts"
import { type MappingChange, SharedStore } from "../../../src/shared/SharedStore.ts"
import { dnsResource } from "../../support/access.ts"
import { aMoment, type Disk, disk, type Gateway, ownerOf, servicesOf, startNames } from "../../support/memorySite.ts"
import { configOf, withLogLines } from "../../support/standalone.ts"

const wild = configOf([dnsResource("**.corp")])
const exact = configOf([dnsResource("git.corp"), dnsResource("wiki.corp"), dnsResource("**.corp")])

const start = (site: SharedStoreMemory.SiteMemory | null, disk: Disk, config: GatewayConfig = wild) =>
  startNames(site, disk, config)

/** One that takes no name away the first `times`. */
const failing = (of: Disk, times: number): Effect.Effect<Disk, never, Scope.Scope> =>
  Effect.map(Layer.build(of.state), (built) => {
    const store = Context.get(built, StateStore)
    let left = times
    const removeMapping: StateStore["Service"]["removeMapping"] = (...mapping) =>
      left-- > 0 ? Effect.fail(new StateError({ message: "the disk is full" })) : store.removeMapping(...mapping)
    return { ...of, state: Layer.succeed(StateStore, { ...store, removeMapping }) }
  })

const rowsOf = ({ state }: Disk) =>
  Effect.provide(
    Effect.flatMap(StateStore, ({ mappings }) => mappings),
    state,
    { local: true }
  )

const many = Array.from({ length: 40 }, (_, n) => n)

/** What a gateway without a site has told of the name. */
const alone = (of: Disk, domain: string) =>
  Effect.scoped(Effect.flatMap(start(null, of), (gateway) => gateway.told(domain)))

describe("gateways of a site", () => {
  it.effect("tell a client the same proxies of a name, whichever it asks, and translate them before it does", () =>
    Effect.gen(function* () {
      const site = new SharedStoreMemory.SiteMemory()
      const [a, b] = [yield* start(site, yield* disk), yield* start(site, yield* disk)]

      const proxies = yield* a.told("git.corp")

      assert.lengthOf(proxies, 4)
      assert.strictEqual(yield* b.owner(proxies[0]!), "git.corp")
      assert.deepStrictEqual(yield* b.told("git.corp"), proxies)
      assert.lengthOf(new Set([...(yield* b.told("wiki.corp")), ...proxies]), 8)
    })
  )

  it.effect("tell exact names the same proxies, whatever they were asked for first, at once", () =>
    Effect.gen(function* () {
      const site = new SharedStoreMemory.SiteMemory()
      const [a, b] = [yield* start(site, yield* disk, exact), yield* start(site, yield* disk, exact)]
      yield* site.leave

      const [git, wiki] = [yield* a.told("git.corp"), yield* a.told("wiki.corp")]

      assert.deepStrictEqual(yield* b.told("wiki.corp"), wiki)
      assert.deepStrictEqual(yield* b.told("git.corp"), git)
      assert.lengthOf(new Set([...git, ...wiki]), 8)
    })
  )

  it.effect("translate an exact name for a client that has asked another one, for longer than a day, too", () =>
    Effect.gen(function* () {
      const site = new SharedStoreMemory.SiteMemory()
      const [mine, theirs] = [yield* disk, yield* disk]
      const proxies = yield* Effect.scoped(
        Effect.gen(function* () {
          const [a, b] = [yield* start(site, theirs, exact), yield* start(site, mine, exact)]
          const told = yield* a.told("git.corp")
          assert.strictEqual(yield* b.owner(told[0]!), "git.corp")
          return told
        })
      )
      yield* site.leave
      yield* TestClock.adjust("25 hours")

      const again = yield* start(site, mine, exact)

      assert.strictEqual(yield* again.owner(proxies[0]!), "git.corp")
      assert.deepStrictEqual(yield* again.told("git.corp"), proxies)
    })
  )

  it.effect("go on giving proxies while the engine is away, and then all of them stand for the name everywhere", () =>
    Effect.gen(function* () {
      const site = new SharedStoreMemory.SiteMemory()
      const [a, b] = [yield* start(site, yield* disk), yield* start(site, yield* disk)]
      yield* site.leave

      const [ofA, ofB] = [yield* a.told("git.corp"), yield* b.told("git.corp")]
      assert.lengthOf(new Set([...ofA, ...ofB]), 8)
      yield* site.comeBack
      yield* aMoment

      for (const gateway of [a, b]) {
        for (const proxy of [...ofA, ...ofB]) assert.strictEqual(yield* gateway.owner(proxy), "git.corp")
      }
      assert.deepStrictEqual(yield* a.told("git.corp"), yield* b.told("git.corp"))
    })
  )

  it.effect("give none before they have been at the engine once, which is told, and then at once", () =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        const site = new SharedStoreMemory.SiteMemory()
        yield* site.leave
        const gateway = yield* start(site, yield* disk)

        assert.deepStrictEqual(yield* gateway.told("git.corp"), [])
        assert.include(lines.join("\n"), "this gateway has none to give in its site")
        yield* site.comeBack
        yield* aMoment

        assert.lengthOf(yield* gateway.told("git.corp"), 4)
      })
    )
  )

  it.effect("know after a restart what the others gave, without the engine; for a day, and not longer", () =>
    Effect.gen(function* () {
      const site = new SharedStoreMemory.SiteMemory()
      const [mine, theirs] = [yield* disk, yield* disk]
      const during = <A>(of: Disk, use: (gateway: Gateway) => Effect.Effect<A>) =>
        Effect.scoped(Effect.flatMap(start(site, of), use))
      const proxies = yield* during(theirs, (gateway) => gateway.told("git.corp"))
      const own = yield* during(mine, (gateway) => gateway.told("wiki.corp"))
      yield* site.leave

      assert.strictEqual(yield* during(mine, (gateway) => gateway.owner(proxies[0]!)), "git.corp")
      yield* TestClock.adjust("25 hours")

      const again = yield* start(site, mine)
      assert.isUndefined(yield* again.owner(proxies[0]!))
      assert.deepStrictEqual(yield* again.told("wiki.corp"), own)
      const other = yield* again.told("git.corp")
      assert.lengthOf(new Set([...other, ...proxies]), 8)
    })
  )

  it.effect("are new ones where their state is, whatever is left of the one before: nothing of its own is theirs", () =>
    Effect.gen(function* () {
      const site = new SharedStoreMemory.SiteMemory()
      const [before, other] = [yield* disk, yield* disk]
      const proxies = yield* Effect.scoped(Effect.flatMap(start(site, before), (gateway) => gateway.told("git.corp")))

      const next = yield* start(site, { state: other.state, directory: before.directory })
      const own = yield* next.told("wiki.corp")

      const spans = Effect.map(
        Effect.flatMap(StateStore, (store) => store.site),
        (of) => of!.spans
      )
      const [first, second] = [
        yield* Effect.provide(spans, before.state, { local: true }),
        yield* Effect.provide(spans, other.state, { local: true })
      ]
      assert.deepStrictEqual(
        second.filter(({ from }) => first.some((span) => span.from === from)),
        []
      )
      assert.strictEqual(yield* next.owner(proxies[0]!), "git.corp")
      assert.lengthOf(new Set([...own, ...proxies]), 8)
    })
  )

  it.effect("that leave their site give only what was their own there, and come back with it", () =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        const site = new SharedStoreMemory.SiteMemory()
        const of = yield* disk
        const other = yield* start(site, yield* disk)
        const inSite = yield* Effect.scoped(Effect.flatMap(start(site, of), ({ told }) => told("git.corp")))
        const { again, left } = yield* Effect.scoped(
          Effect.gen(function* () {
            const gateway = yield* start(null, of)
            const again = yield* gateway.told("git.corp")
            return { again, left: yield* Effect.forEach(many, (n) => gateway.told(`a${n}.corp`)) }
          })
        )
        const others = yield* Effect.forEach(many, (n) => other.told(`b${n}.corp`))

        const back = yield* start(site, of)
        yield* aMoment

        assert.deepStrictEqual(again, inSite)
        assert.include(lines.join("\n"), "of each client's addresses it gives the 1536 that were its own there")
        assert.lengthOf(new Set([...left, ...others].flat()), 8 * many.length)
        assert.deepStrictEqual(yield* other.told("a7.corp"), left[7])
        assert.deepStrictEqual(yield* back.told("b7.corp"), others[7])
      })
    )
  )

  it.effect("keep what the first of them gave when it was alone; another one's own from before is no name's", () =>
    Effect.gen(function* () {
      const site = new SharedStoreMemory.SiteMemory()
      const [first, second] = [yield* disk, yield* disk]
      const before = yield* alone(first, "git.corp")
      assert.deepStrictEqual(yield* alone(second, "wiki.corp"), before)

      const a = yield* start(site, first)
      const lines: Array<string> = []
      const b = yield* withLogLines((seen) =>
        Effect.tap(start(site, second), () => Effect.sync(() => void lines.push(...seen)))
      )

      for (const gateway of [a, b]) assert.deepStrictEqual(yield* gateway.told("git.corp"), before)
      assert.lengthOf(new Set([...(yield* b.told("wiki.corp")), ...before]), 8)
      assert.deepStrictEqual(yield* a.told("wiki.corp"), yield* b.told("wiki.corp"))
      assert.include(lines.join("\n"), "1 names of clients get other proxy addresses")
    })
  )

  it.effect("withdraw what is no name's any more, however often the disk fails", () =>
    Effect.gen(function* () {
      const site = new SharedStoreMemory.SiteMemory()
      const [first, second] = [yield* disk, yield* disk]
      const before = yield* alone(first, "git.corp")
      yield* alone(second, "wiki.corp")
      yield* start(site, first)

      const b = yield* start(site, yield* failing(second, 2))
      yield* TestClock.adjust("5 seconds")
      yield* aMoment

      assert.deepStrictEqual(yield* rowsOf(second), [])
      assert.strictEqual(yield* b.owner(before[0]!), "git.corp")
      assert.lengthOf(new Set([...(yield* b.told("wiki.corp")), ...before]), 8)
    })
  )

  it.effect("tell nothing of slots of others that is left in their state, without the engine either", () =>
    Effect.gen(function* () {
      const site = new SharedStoreMemory.SiteMemory()
      const [first, second] = [yield* disk, yield* disk]
      const before = yield* Effect.scoped(
        Effect.gen(function* () {
          const a = yield* start(site, first)
          yield* start(site, second)
          return yield* a.told("git.corp")
        })
      )
      // It is alone for a while, with addresses that are others'.
      const [theirs] = yield* rowsOf(first)
      const left = { ...theirs!, domain: "wiki.corp", lastUsedAt: 1e15 }
      yield* Effect.provide(
        Effect.flatMap(StateStore, ({ putMapping }) => putMapping(left)),
        second.state,
        { local: true }
      )
      yield* site.leave

      const b = yield* start(site, second)

      assert.strictEqual(yield* b.owner(before[0]!), "git.corp")
      assert.lengthOf(new Set([...(yield* b.told("wiki.corp")), ...before]), 8)
      assert.isFalse((yield* rowsOf(second)).some(({ slot }) => slot === theirs!.slot))
    })
  )

  it.effect("withdraw what was given alone from the slots of exact names, at once", () =>
    Effect.gen(function* () {
      const site = new SharedStoreMemory.SiteMemory()
      const of = yield* disk
      const ranges = proxyNetworks(wild.network)
      const slot = slotCapacity(ranges) / 2 + 5
      const [{ id: client }, { id: resource }] = [wild.clients[0]!, wild.resources[0]!]
      const row = { client, slot, domain: "git.corp", resource, lastUsedAt: 0 }
      yield* Effect.provide(
        Effect.flatMap(StateStore, ({ putMapping }) => putMapping(row)),
        of.state,
        { local: true }
      )

      const gateway = yield* start(site, of)

      assert.isUndefined(yield* gateway.owner(proxyIpsOf(slot, ranges)![0]!))
      assert.notInclude(yield* gateway.told("git.corp"), proxyIpsOf(slot, ranges)![0]!)
    })
  )

  it.effect("give nothing while another process is the same gateway, which is told, and then go on", () =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        const site = new SharedStoreMemory.SiteMemory()
        const of = yield* disk
        const known = yield* Effect.scoped(Effect.flatMap(start(site, of), (gateway) => gateway.told("git.corp")))
        site.isTaken = true
        const copy = yield* start(site, of)

        assert.deepStrictEqual(yield* copy.told("wiki.corp"), [])
        assert.include(lines.join("\n"), "this gateway has none to give in its site")
        // What it has given it goes on to translate.
        assert.deepStrictEqual(yield* copy.told("git.corp"), known)
        site.isTaken = false
        yield* site.comeBack
        yield* aMoment

        assert.lengthOf(yield* copy.told("wiki.corp"), 4)
      })
    )
  )

  it.effect("say what keeps them from further addresses: a gateway that was not there since PostgreSQL's start", () =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        const site = new SharedStoreMemory.SiteMemory()
        const proxy4 = "100.96.0.0/18"
        const proxy6 = "fd00:2021:1111:8000::/114"
        const config = { ...wild, network: { ...wild.network, proxy4, proxy6 } }
        const of = yield* disk
        yield* Effect.scoped(Effect.andThen(start(site, of, config), start(site, yield* disk, config)))
        site.restart()
        const gateway = yield* start(site, of, config)

        const told = yield* Effect.forEach(
          Array.from({ length: 16 }, (_, n) => n),
          (n) => gateway.told(`n${n}.corp`)
        )

        assert.deepStrictEqual(told.at(-1), [])
        assert.lengthOf(told[0]!, 4)
        assert.include(lines.join("\n"), "sallyport forget-gateway for one that is gone")
      })
    )
  )

  it.effect("go on for half a minute where it may be their own connection of before that has not ended", () =>
    Effect.gen(function* () {
      const site = new SharedStoreMemory.SiteMemory()
      const gateway = yield* start(site, yield* disk)
      site.isTaken = true
      yield* TestClock.adjust("1 second")
      yield* site.comeBack
      yield* aMoment
      assert.lengthOf(yield* gateway.told("git.corp"), 4)

      yield* TestClock.adjust("31 seconds")
      yield* site.comeBack
      yield* aMoment

      assert.deepStrictEqual(yield* gateway.told("wiki.corp"), [])
    })
  )

  it.effect("give no right back with a name of the site that a reload takes away at that moment", () =>
    Effect.gen(function* () {
      const site = new SharedStoreMemory.SiteMemory()
      const config = configOf(Array.from({ length: 50 }, (_, n) => dnsResource(`*.n${n}.corp`)))
      const services = yield* servicesOf(site, yield* disk, config)
      yield* Effect.gen(function* () {
        const names = yield* TunnelNames
        const authorizations = yield* Authorizations
        const recorder = yield* DataPlaneRecording.DataPlaneRecorder
        // What follows the site lets others have their turn between any steps that it may.
        yield* Effect.provideService(names.restore, Scheduler.MaxOpsBeforeYield, 5)
        yield* aMoment
        const client = config.clients[0]!.id
        const changes = config.resources.map(({ id: resource }, n): MappingChange => {
          const mapping = { client, slot: 5 + n, domain: `git.n${n}.corp`, resource, lastUsedAt: 0 }
          return { _tag: "Put", mapping }
        })
        yield* Effect.flatMap(SharedStore, ({ write }) => write(changes)).pipe(
          Effect.provide(SharedStoreMemory.layer(site))
        )
        const hasBegun = Effect.map(recorder.commands, (all) => all.some(({ _tag }) => _tag === "UpsertClient"))
        yield* Effect.repeat(Effect.andThen(Effect.yieldNow, hasBegun), { until: (is) => is, times: 100_000 })
        assert.isTrue(yield* hasBegun)

        const after = { ...config, grants: [] }
        yield* names.retake({
          before: { version: 1, config, site: null },
          after: { version: 2, config: after, site: null },
          difference: policyDifference(config, after)
        })
        yield* authorizations.revoke(client, null)
        yield* Effect.repeat(Effect.yieldNow, { times: 10_000 })

        assert.deepStrictEqual(yield* authorizations.list, [])
      }).pipe(Effect.provide(services))
    })
  )

  it.effect("know the names of a client that is new in the policy, and read nobody else's for it", () =>
    Effect.gen(function* () {
      const site = new SharedStoreMemory.SiteMemory()
      const of = yield* disk
      const own = yield* Effect.scoped(Effect.flatMap(start(site, of), ({ told }) => told("git.corp")))
      const others = yield* Effect.flatMap(start(site, yield* disk), ({ told }) => told("wiki.corp"))
      const store = Context.get(yield* Layer.build(of.state), StateStore)
      let reads = 0
      const mappings = Effect.tap(store.mappings, () => Effect.sync(() => reads++))
      const state = Layer.succeed(StateStore, { ...store, mappings })
      const before = { ...wild, clients: wild.clients.slice(1), grants: [] }
      const services = yield* servicesOf(site, { ...of, state }, before)
      yield* Effect.gen(function* () {
        const names = yield* TunnelNames
        yield* names.restore
        yield* aMoment
        const readsAtStart = reads
        const change = {
          before: { version: 1, config: before, site: null },
          after: { version: 2, config: wild, site: null },
          difference: policyDifference(before, wild)
        }

        yield* names.retake(change)
        yield* names.readAgain(change)

        assert.deepStrictEqual(
          [yield* ownerOf(own[0]!), yield* ownerOf(others[0]!), reads],
          ["git.corp", "wiki.corp", readsAtStart]
        )
      }).pipe(Effect.provide(services))
    })
  )

  it.effect("withdraw a name whose slot the engine has for another one, loudly, and give it another", () =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        const site = new SharedStoreMemory.SiteMemory()
        const of = yield* disk
        const a = yield* start(site, of)
        yield* site.leave
        const proxies = yield* a.told("git.corp")
        const [row] = yield* Effect.flatMap(StateStore, ({ mappings }) => mappings).pipe(Effect.provide(of.state))
        yield* site.comeBack
        yield* Effect.flatMap(SharedStore, ({ write }) =>
          write([{ _tag: "Put", mapping: { ...row!, domain: "wiki.corp" } }])
        ).pipe(Effect.provide(SharedStoreMemory.layer(site)))
        yield* aMoment

        assert.strictEqual(yield* a.owner(proxies[0]!), "wiki.corp")
        assert.include(lines.join("\n"), "and git.corp gets another one")
        assert.lengthOf(new Set([...(yield* a.told("git.corp")), ...proxies]), 8)
      })
    )
  )
})
