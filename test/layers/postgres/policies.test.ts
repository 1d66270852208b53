/** The policies of a site: what gateways look at, and what is applied. */
import { assert, describe, it } from "@effect/vitest"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Effect, Exit, type Layer, Queue, Scope } from "effect"
import { afterAll, beforeAll } from "vitest"
import * as Memory from "../../../layers/memory/SharedStoreMemory.ts"
import { open } from "../../../layers/postgres/PolicyStore.ts"
import { keptPolicies, type PolicyStore } from "../../../src/shared/PolicyStore.ts"
import type { SharedStore, SharedStoreError } from "../../../src/shared/SharedStore.ts"
import type { PolicyVersion } from "../../../src/shared/SitePolicy.ts"
import { type Postgres, startPostgres } from "../../support/postgres.ts"
import { addressOf, live, openStore, signIn, until } from "../../support/sharedStore.ts"

const scope = Scope.makeUnsafe()
let postgres: Postgres
beforeAll(async () => {
  postgres = await Effect.runPromise(Scope.provide(startPostgres(), scope))
}, 60_000)
afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))

interface Site {
  readonly layer: Layer.Layer<SharedStore>
  readonly policies: Effect.Effect<PolicyStore, SharedStoreError, Scope.Scope>
  /** What there is of policies is put back later. */
  readonly backup: Effect.Effect<Effect.Effect<void>>
}

const inPostgres: Effect.Effect<Site> = Effect.gen(function* () {
  const database = yield* postgres.database
  const sql = (text: string) => Effect.asVoid(Effect.orDie(postgres.sql(text, database)))
  const address = addressOf(database, postgres)
  return {
    layer: live(address),
    policies: Effect.provide(open(address), NodeServices.layer),
    backup: Effect.as(
      sql("CREATE SCHEMA backup; CREATE TABLE backup.policy AS TABLE sallyport.policy"),
      sql("DELETE FROM sallyport.policy; INSERT INTO sallyport.policy TABLE backup.policy")
    )
  }
}).pipe(Effect.orDie)

const inMemory: Effect.Effect<Site> = Effect.sync(() => {
  const site = new Memory.SiteMemory()
  return {
    layer: Memory.layer(site),
    policies: Effect.succeed(site.policyStore),
    backup: Effect.sync(() => Effect.sync(site.backup()))
  }
})

for (const [name, makeSite] of [
  ["in PostgreSQL", inPostgres],
  ["in memory", inMemory]
] as const) {
  describe(`a site's policies ${name}`, { timeout: 60_000 }, () => {
    const aSite = Effect.gen(function* () {
      const site = yield* makeSite
      const gateway = yield* openStore(site.layer)
      const policies = yield* site.policies
      const add = Effect.fnUntraced(function* (text: string) {
        const { policy } = yield* policies.newest
        return (yield* policies.apply({ text, by: "alice@gw1", compared: policy?.token ?? null }))!
      })
      const look = (inForce: { readonly version: number; readonly token: string } | null = null) =>
        gateway.lookAtPolicy({ gateway: 0, inForce, known: inForce?.token ?? null })
      return { ...site, gateway, policies, add, look }
    })

    it.live("are none at first; each has the next number, and who applied it", () =>
      Effect.gen(function* () {
        const { add, look, policies } = yield* aSite
        const before = [yield* policies.newest, yield* look()]

        const versions = [yield* add("one"), yield* add("two")].map(({ version }) => version)

        assert.deepStrictEqual(before, [{ policy: null, isOutrun: false }, null])
        assert.deepStrictEqual(versions, [1, 2])
        const { policy } = yield* policies.newest
        assert.deepStrictEqual([policy?.version, policy?.text, policy?.by], [2, "two", "alice@gw1"])
        assert.deepStrictEqual(yield* look(), policy)
      })
    )

    it.live("are told to a gateway at once, without the text that it has", () =>
      Effect.gen(function* () {
        const { add, gateway, look } = yield* aSite
        yield* Queue.clear(gateway.policyNews)

        const applied = yield* add("one")

        yield* Queue.take(gateway.policyNews).pipe(Effect.timeout("5 seconds"))
        const offered = yield* look(applied)
        assert.deepStrictEqual([offered?.version, offered?.token, offered?.text], [1, applied.token, null])
      })
    )

    it.live("are not written over one that has come in between", () =>
      Effect.gen(function* () {
        const { add, policies } = yield* aSite
        const first = yield* add("one")
        yield* add("two")

        for (const compared of [null, first.token]) {
          assert.isNull(yield* policies.apply({ text: "three", by: "bob@gw2", compared }))
        }
        assert.strictEqual((yield* policies.newest).policy?.text, "two")
      })
    )

    it.live("that the store has lost give their numbers to no other, where a gateway goes by one", () =>
      Effect.gen(function* () {
        const { add, backup, gateway, look, policies } = yield* aSite
        yield* gateway.signIn(signIn("a"))
        yield* add("one")
        const restore = yield* backup
        yield* add("two")
        const third = yield* add("three")
        yield* look(third)
        yield* restore
        yield* until(Effect.map(gateway.status, ({ _tag }) => _tag === "Connected"))
        yield* look(third)

        const { isOutrun, policy } = yield* policies.newest
        const next = yield* add("four")

        assert.deepStrictEqual([isOutrun, policy?.version, next.version], [true, 1, 4])
        assert.isFalse((yield* policies.newest).isOutrun)
      })
    )

    it.live("of one number and two histories are told apart", () =>
      Effect.gen(function* () {
        const { add, backup, gateway, look, policies } = yield* aSite
        yield* gateway.signIn(signIn("a"))
        const restore = yield* backup
        const lost = yield* add("one")
        yield* restore
        const other = yield* add("another")
        assert.deepStrictEqual([lost.version, other.version], [1, 1])

        yield* look(lost)

        assert.isTrue((yield* policies.newest).isOutrun)
        assert.strictEqual((yield* add("what counts")).version, 2)
      })
    )
  })
}

describe("PostgreSQL", { timeout: 60_000 }, () => {
  it.live("keeps so many policies, and says what those that live go by", () =>
    Effect.gen(function* () {
      const database = yield* postgres.database
      const address = addressOf(database, postgres)
      const policies = yield* Effect.provide(open(address), NodeServices.layer)
      const gateways = [yield* openStore(live(address)), yield* openStore(live(address))]
      for (const [n, gateway] of gateways.entries()) yield* gateway.signIn(signIn(`${n}`))
      yield* postgres.sql(
        "INSERT INTO sallyport.heartbeat SELECT no, 1, extract(epoch FROM now()) * 1000, 0 FROM sallyport.gateway",
        database
      )
      let compared: string | null = null
      for (let n = 0; n < keptPolicies + 2; n++) {
        const applied: PolicyVersion | null = yield* policies.apply({ text: "a", by: "alice@gw1", compared })
        compared = applied!.token
      }
      const newest = { version: keptPolicies + 2, token: compared! }
      yield* gateways[1]!.lookAtPolicy({ gateway: 1, inForce: newest, known: compared })

      assert.deepStrictEqual(yield* policies.holders, [
        { gateway: 0, inForce: null },
        { gateway: 1, inForce: newest }
      ])
      assert.strictEqual(
        yield* postgres.sql("SELECT count(*) || ' from ' || min(version) FROM sallyport.policy", database),
        `${keptPolicies} from 3`
      )
    })
  )
})
