/** Several sites in one PostgreSQL. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import * as PresenceLive from "../../../layers/postgres/PresenceStore.ts"
import type { Hello } from "../../../src/shared/meeting.ts"
import { PresenceStore } from "../../../src/shared/PresenceStore.ts"
import { ofFile } from "../../support/ofFile.ts"
import { startPostgres } from "../../support/postgres.ts"
import { addressOf, isConnected, live, openStore, signIn } from "../../support/sharedStore.ts"

const postgres = ofFile(startPostgres())

const berlin = { name: "berlin", number: 0 }
const tokyo = { name: "tokyo", number: 1 }
const at = (own: number, ...all: ReadonlyArray<typeof berlin>) => ({ sites: { own, all } })

const site = Effect.gen(function* () {
  const database = yield* postgres.database
  const address = addressOf(database, postgres)
  const presence = Layer.build(Layer.fresh(PresenceLive.layer(address).pipe(Layer.provide(NodeServices.layer)))).pipe(
    Effect.map((built) => Context.get(built, PresenceStore)),
    Effect.tap(isConnected)
  )
  return { open: openStore(live(address)), presence }
})

const refusal = <A, E extends { readonly message: string }, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), ({ message }) => message.replace(/^.*?: /, ""))

describe("several sites in one PostgreSQL", { timeout: 60_000 }, () => {
  it.live("keep their names and numbers, whatever a file says later", () =>
    Effect.gen(function* () {
      const { open } = yield* site
      const [a, b] = [yield* open, yield* open]
      yield* a.signIn(signIn("a", at(0, berlin, tokyo)))
      yield* b.signIn(signIn("b", at(1, tokyo, berlin, { name: "rome", number: 3 })))

      assert.strictEqual(
        yield* refusal(a.signIn(signIn("a", at(0, berlin, { name: "tokyo", number: 2 })))),
        "site tokyo has number 1, and the file says that tokyo has number 2 — a site keeps its name and its number: say in all files what was said first (sites:)"
      )
      const c = yield* open
      assert.include(
        yield* refusal(c.signIn(signIn("c", at(3, { name: "oslo", number: 3 })))),
        "site rome has number 3"
      )
      const d = yield* open
      assert.include(
        yield* refusal(d.signIn(signIn("d"))),
        "it is of several sites (berlin, tokyo, rome), and the file names none"
      )
    })
  )

  it.live("keep nothing of a file that contradicts them", () =>
    Effect.gen(function* () {
      const { open } = yield* site
      const [a, b, c] = [yield* open, yield* open, yield* open]
      const rome = { name: "rome", number: 2 }
      yield* a.signIn(signIn("a", at(0, berlin, tokyo)))

      yield* refusal(b.signIn(signIn("b", at(0, berlin, { name: "tokio", number: 1 }, { ...rome, number: 3 }))))

      yield* c.signIn(signIn("c", at(2, rome, berlin, tokyo)))
    })
  )

  it.live("come about beside one that was alone, whose blocks are nobody else's from then on", () =>
    Effect.gen(function* () {
      const { open } = yield* site
      const [old, a] = [yield* open, yield* open]
      const { gateway } = yield* old.signIn(signIn("old"))
      const ofOthers = { from: 40, to: 50 }
      yield* a.signIn(signIn("a", at(0, berlin, tokyo)))

      assert.isNull(yield* old.lease(gateway, ofOthers))
      assert.strictEqual(yield* old.lease(gateway, { from: 0, to: 256 }), 0)
      assert.strictEqual(yield* a.lease(1, { from: 256, to: 512 }), 256)
    })
  )

  it.live("do not where the only one has given what would be theirs", () =>
    Effect.gen(function* () {
      const { open } = yield* site
      const [old, a] = [yield* open, yield* open]
      const { gateway } = yield* old.signIn(signIn("old"))
      assert.strictEqual(yield* old.lease(gateway, { from: 40, to: 50 }), 40)

      assert.include(
        yield* refusal(a.signIn(signIn("a", at(0, berlin, tokyo)))),
        "its only site has given addresses that would be those of other sites"
      )
      assert.strictEqual((yield* old.signIn(signIn("old"))).gateway, gateway)
    })
  )

  it.live("know nothing of each other's gateways and clients; one that moves is of its new site only", () =>
    Effect.gen(function* () {
      const { open, presence } = yield* site
      const stores = yield* Effect.all([open, open, open])
      for (const [i, number] of [0, 1, 1].entries())
        yield* stores[i]!.signIn(signIn(`g${i}`, at(number, berlin, tokyo)))
      const store = yield* presence
      const hello = (gateway: number): Hello => ({
        gateway,
        epoch: null,
        clients: 0,
        master: "no",
        address: null,
        port: 51_820,
        draining: false,
        about: null,
        sightings: [],
        known: new Map()
      })
      const met = (gateway: number) =>
        Effect.map(store.meet(hello(gateway)), ({ heartbeats }) =>
          heartbeats.map((one) => one.gateway).toSorted((a, b) => a - b)
        )
      for (const gateway of [0, 1, 2]) yield* met(gateway)

      assert.deepStrictEqual([yield* met(0), yield* met(1), yield* met(2)], [[0], [1, 2], [1, 2]])
      yield* stores[1].signIn(signIn("g1", at(0, berlin, tokyo)))
      assert.deepStrictEqual([yield* met(0), yield* met(1), yield* met(2)], [[0, 1], [0, 1], [2]])
    })
  )
})
