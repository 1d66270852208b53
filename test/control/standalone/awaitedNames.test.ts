/** A client of a site sends to a proxy IP that another gateway has given it, before this one has heard of it. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { TestClock } from "effect/testing"
import * as DataPlaneMemory from "../../../layers/memory/DataPlaneMemory.ts"
import { answer, ResolverScript } from "../../../layers/memory/ResolverMemory.ts"
import { SiteMemory } from "../../../layers/memory/SharedStoreMemory.ts"
import * as StateStoreMemory from "../../../layers/memory/StateStoreMemory.ts"
import type { GatewayConfig } from "../../../src/config/GatewayConfig.ts"
import { dnsResource } from "../../support/access.ts"
import { destinations, icmpOf, lan, real4, send, syn, tcp } from "../../support/engineSteps.ts"
import { gatewayPrivateKey, makeClient, packetsAt, policy } from "../../support/engineWorld.ts"
import { connect, exchange, type MemoryClient, sendInner } from "../../support/memoryClient.ts"
import { disk, memberOf, startNames } from "../../support/memorySite.ts"
import { berlin, configAt, tokyo } from "../../support/memorySites.ts"
import { addressesIn, configOf, layerGateway, query, withLogLines } from "../../support/standalone.ts"

const wild = configOf([dnsResource("**.corp")])
const exact = configOf([dnsResource("git.corp"), dnsResource("**.corp")])
const unreachable = [3, 0] as const

/** This gateway, with packets; its client is connected. */
const here = (site: SiteMemory, config: GatewayConfig) =>
  layerGateway(config, DataPlaneMemory.layer({ privateKey: gatewayPrivateKey, maxSessions: 4_096 })).pipe(
    Layer.provide(memberOf(site, null, config)),
    Layer.provide(StateStoreMemory.layer)
  )

const online = Effect.gen(function* () {
  yield* TestClock.adjust("1 minute")
  yield* send({ ...policy, packets: packetsAt.site })
  yield* (yield* ResolverScript).set("*", answer([real4]))
  const client = makeClient(1)
  yield* connect(client)
  return { client, out: yield* lan }
})

/** As `here`, beside another gateway that has told a client of some names since. */
const beside = <A, E, R>(
  config: GatewayConfig,
  test: (
    site: SiteMemory,
    there: Effect.Success<ReturnType<typeof startNames>>
  ) => Effect.Effect<A, E, R | Layer.Success<ReturnType<typeof here>>>,
  configThere: GatewayConfig = config
) =>
  Effect.gen(function* () {
    const site = new SiteMemory()
    const there = yield* startNames(site, yield* disk, configThere)
    return yield* Effect.provide(test(site, there), here(site, config), { local: true })
  })

const after = (address: string) => address.replace(/\d+$/, (digits) => `${Number(digits) + 1}`)

const isAnswered = Effect.fnUntraced(function* (client: MemoryClient, proxy: string) {
  yield* sendInner(client, tcp(443, syn, proxy))
  yield* TestClock.adjust("10 millis")
  yield* exchange([client])
  assert.deepStrictEqual(icmpOf(client.received), [unreachable])
})

describe("a packet to a proxy IP that another gateway has given", () => {
  it.effect("waits while the site is asked, which tells nobody by itself, and goes where the name leads", () =>
    beside(wild, (site, there) =>
      Effect.gen(function* () {
        const { client, out } = yield* online
        site.isSilent = true
        const [proxy] = yield* there.told("git.corp")
        yield* sendInner(client, tcp(443, syn, proxy))
        assert.lengthOf(out, 0)

        yield* TestClock.adjust("150 millis")

        assert.deepStrictEqual(destinations(out), [real4])
        assert.lengthOf(client.received, 0)
      })
    )
  )

  it.effect("waits for one that is about to tell: that the site does not have it now is not the last word", () =>
    beside(wild, (_, there) =>
      Effect.gen(function* () {
        const { client, out } = yield* online
        const [, , , last] = yield* there.told("git.corp")
        const next = after(last!)
        yield* sendInner(client, tcp(443, syn, next))
        yield* TestClock.adjust("1 second")
        assert.lengthOf(client.received, 0)

        assert.deepStrictEqual((yield* there.told("wiki.corp"))[0], next)

        assert.deepStrictEqual(destinations(out), [real4])
        assert.lengthOf(client.received, 0)
      })
    )
  )

  it.effect("for an exact name needs nobody: the address says the name, without PostgreSQL too", () =>
    beside(exact, (site, there) =>
      Effect.gen(function* () {
        const { client, out } = yield* online
        yield* site.leave
        const [proxy] = yield* there.told("git.corp")

        yield* sendInner(client, tcp(443, syn, proxy))
        yield* TestClock.adjust("10 millis")

        assert.deepStrictEqual(destinations(out), [real4])
      })
    )
  )

  it.effect("is answered at once where nothing can come: PostgreSQL is away", () =>
    beside(wild, (site, there) =>
      Effect.gen(function* () {
        const { client } = yield* online
        yield* site.leave
        const [proxy] = yield* there.told("git.corp")
        yield* isAnswered(client, proxy!)
      })
    )
  )

  it.effect("is answered at once where the client may not use the name that the address is for", () =>
    beside(
      { ...exact, grants: [] },
      (_, there) =>
        Effect.gen(function* () {
          const { client } = yield* online
          const [proxy] = yield* there.told("git.corp")
          yield* isAnswered(client, proxy!)
        }),
      exact
    )
  )

  it.effect("is answered at once where nobody else gives the address", () =>
    beside(wild, () =>
      Effect.gen(function* () {
        const { client } = yield* online
        const [, , , last] = addressesIn(yield* query("git.corp"))
        yield* isAnswered(client, after(last!))
      })
    )
  )

  it.effect("is answered within 2 s where the site knows nothing of it either; one who tries all costs it little", () =>
    beside(wild, (site) =>
      Effect.gen(function* () {
        const { client } = yield* online
        const before = site.reads
        for (let i = 0; i < 1_000; i++) yield* sendInner(client, tcp(443, syn, `100.97.${i >>> 8}.${i & 255}`))
        yield* TestClock.adjust("2100 millis")
        yield* exchange([client])

        assert.isAbove(icmpOf(client.received).length, 0)
        assert.isAtMost(site.reads - before, 2)
      })
    )
  )

  it.effect("of another site is answered at once, and told once, with what to look at", () => {
    const served = { berlin: [], tokyo: [dnsResource("**.corp")] }
    return withLogLines((lines) =>
      beside(
        configAt(berlin, served),
        (site, there) =>
          Effect.gen(function* () {
            const { client } = yield* online
            const [proxy, next] = yield* there.told("git.corp")
            const before = site.reads
            yield* isAnswered(client, proxy!)
            client.received.length = 0
            yield* isAnswered(client, next!)

            const said = lines.filter((line) => line.includes("came here"))
            assert.lengthOf(said, 1)
            assert.include(
              said[0],
              `a packet of client-1 to ${proxy} came here, and is for site tokyo — see AllowedIPs in the client's file: sallyport client-config client-1`
            )
            assert.strictEqual(site.reads, before)
          }),
        configAt(tokyo, served)
      )
    )
  })
})
