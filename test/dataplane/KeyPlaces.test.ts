import { assert, describe, it } from "@effect/vitest"
import { KeyPlaces } from "../../src/dataplane/KeyPlaces.ts"
import { clientId } from "../support/engineWorld.ts"

const client = clientId(1)
const [home, office, train] = ["192.0.2.1:4000", "198.51.100.2:5000", "203.0.113.3:6000"]

/** What is told of a client seen at these places, one a second. */
const told = (places: KeyPlaces, seen: ReadonlyArray<string>, stepMs = 1_000) =>
  seen.flatMap((place, i) => places.observe(client, place, i * stepMs) ?? [])

describe("a key in use at two places at a time", () => {
  it("is told once, with both places, and known for ten minutes", () => {
    const places = new KeyPlaces()
    const turns = Array.from({ length: 30 }, (_, i) => (i % 2 === 0 ? home : office))
    assert.deepStrictEqual(told(places, turns), [{ endpoints: [office, home], at: 5_000 }])
    assert.deepStrictEqual(places.contested(client, 600_000)?.endpoints, [office, home])
    assert.isNull(places.contested(client, 606_000))
  })

  it("is no client that roams, goes back home or lives behind a NAT that forgets", () => {
    assert.deepStrictEqual(told(new KeyPlaces(), [home, office, home, train, home, office, home]), [])
    assert.deepStrictEqual(
      told(
        new KeyPlaces(),
        Array.from({ length: 30 }, (_, i) => `192.0.2.1:${i}`)
      ),
      []
    )
    assert.deepStrictEqual(told(new KeyPlaces(), [home, office, home, office, home, office, home], 30_000), [])
  })

  it("is forgotten with the client", () => {
    const places = new KeyPlaces()
    told(places, [home, office, home, office, home, office])
    assert.isNotNull(places.contested(client, 6_000))
    places.forget(client)
    assert.isNull(places.contested(client, 6_000))
  })
})
