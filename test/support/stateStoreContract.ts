/** What every `StateStore` keeps to, whatever it is made of. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { type StateError, StateStore, type StoredMapping } from "../../src/host/StateStore.ts"

export const use = <A>(work: (store: StateStore["Service"]) => Effect.Effect<A, StateError>) =>
  Effect.flatMap(StateStore, work)

export const mapping = (slot: number, domain = `n${slot}.example`): StoredMapping => ({
  client: "alice",
  resource: "gitlab",
  domain,
  slot,
  lastUsedAt: 1_700_000_000_000.25
})

export const messageOf = <A>(effect: Effect.Effect<A, StateError>) =>
  Effect.orDie(Effect.map(Effect.flip(effect), (e) => e.message))

/** `withStore` gives each test a store of its own, with nothing in it. */
export const stateStoreContract = (
  withStore: <A, E>(work: Effect.Effect<A, E, StateStore>) => Effect.Effect<A, E | StateError>
): void => {
  it.effect.prop(
    "never hands a slot out twice, whatever is asked for in whichever order",
    [Schema.Array(Schema.Struct({ client: Schema.Literals(["a", "b"]), count: Schema.Literals([1, 2, 255]) }))],
    ([steps]) =>
      withStore(
        use((store) =>
          Effect.gen(function* () {
            const seen = new Set<string>()
            for (const { client, count } of steps) {
              const first = yield* store.reserveSlots(client, count)
              for (let slot = first; slot < first + count; slot++) {
                assert.isFalse(seen.has(`${client} ${slot}`))
                seen.add(`${client} ${slot}`)
              }
            }
          })
        )
      ),
    { arbitrary: { runs: 20, seed: 11 } }
  )

  it.effect("refuses to give a slot in use to another name of the client", () =>
    withStore(
      use((store) =>
        Effect.gen(function* () {
          yield* store.putMapping(mapping(1, "one.example"))
          yield* messageOf(store.putMapping(mapping(1, "two.example")))
          yield* store.putMapping({ ...mapping(1, "one.example"), client: "bob" })
          // A name may have more than one.
          yield* store.putMapping(mapping(2, "one.example"))
          assert.deepStrictEqual(yield* store.mappingsOf("bob"), [{ ...mapping(1, "one.example"), client: "bob" }])
          assert.deepStrictEqual(
            (yield* store.mappings).map((m) => [m.client, m.domain]),
            [
              ["alice", "one.example"],
              ["alice", "one.example"],
              ["bob", "one.example"]
            ]
          )
        })
      )
    )
  )
}
