import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { importNames, type Taker } from "../../src/shared/importNames.ts"

const mapping = (client: string, slot: number, domain: string) => ({
  client,
  slot,
  domain,
  resource: "corp",
  lastUsedAt: 1_700_000_000_000
})

const devices = new Map([
  ["alice", "A"],
  ["bob", "B"]
])
const nobody: Taker = { mappings: [], reserved: new Map(), devices, seen: new Set(), spans: null }
const given = {
  mappings: [mapping("alice", 1, "wiki.corp"), mapping("alice", 2, "git.corp")],
  reserved: new Map([["alice", 8]]),
  devices
}
const reasons = (taker: Taker, from = given) =>
  importNames(taker, from).left.map(({ mapping: { slot }, why }) => [slot, why])

describe("names of a gateway that was alone", () => {
  it("are taken over as they are at a client that was never here, though slots were set aside for it at a start", () => {
    const { left, reserved, taken, there } = importNames({ ...nobody, reserved: new Map([["alice", 16]]) }, given)
    assert.deepStrictEqual([taken, left, there, reserved], [given.mappings, [], 0, new Map()])
  })

  it("have all that was set aside for them there set aside here, so that what was released is nobody's, either", () => {
    assert.deepStrictEqual(importNames(nobody, given).reserved, new Map([["alice", 8]]))
  })

  it("are left where their address stands for another name here, or may have", () => {
    const mappings = [mapping("alice", 1, "mail.corp")]
    const seen = new Set(["alice"])
    assert.deepStrictEqual(reasons({ ...nobody, mappings, reserved: new Map([["alice", 8]]), seen }), [
      [1, "its address stands for mail.corp here"],
      [2, "its address may have stood for another name here"]
    ])
    assert.deepStrictEqual(reasons({ ...nobody, mappings, reserved: new Map([["alice", 2]]), seen }), [
      [1, "its address stands for mail.corp here"]
    ])
  })

  it("are left where the client is another device here, or nobody", () => {
    assert.deepStrictEqual(reasons({ ...nobody, devices: new Map([["alice", "other"]]) }), [
      [1, "that client is another device here"],
      [2, "that client is another device here"]
    ])
    assert.deepStrictEqual(reasons({ ...nobody, devices: new Map() })[0], [1, "no client is called so here"])
  })

  it("are left in a site where another gateway gives their addresses", () => {
    const spans = [
      { from: 100, to: 110 },
      { from: 0, to: 2 }
    ]
    assert.deepStrictEqual(reasons({ ...nobody, spans }), [
      [2, "its address is not this gateway's to give in the site"]
    ])
    // Counted are those of the first span, and two of the second.
    assert.deepStrictEqual(importNames({ ...nobody, spans }, given).reserved, new Map([["alice", 12]]))
  })

  it("are taken over once", () => {
    const first = importNames(nobody, given)
    const again = importNames({ ...nobody, mappings: first.taken, reserved: first.reserved }, given)
    assert.deepStrictEqual(again, { taken: [], there: 2, left: [], reserved: new Map() })
  })

  const Told = Schema.Array(
    Schema.Struct({
      here: Schema.Boolean,
      client: Schema.Literals(["alice", "bob"]),
      domain: Schema.Literals(["a.corp", "b.corp", "c.corp", "d.corp"]),
      isReleased: Schema.Boolean
    })
  ).check(Schema.isMaxLength(12))

  it.prop(
    "leave no address that stands for two names, has stood for another one here, or comes to do so",
    [Told, Schema.Boolean],
    ([told, isInSite]) => {
      const spans = isInSite ? [span(40, 44), span(0, 4), span(8, 12)] : null
      const [here, there] = [aLife(spans ?? [span(0, 1_000)]), aLife([span(0, 1_000)])]
      for (const one of told) (one.here ? here : there).tell(one.client, one.domain, one.isReleased)
      const taker = { ...here.state(), devices, seen: here.clients, spans }

      const { reserved, taken } = importNames(taker, { ...there.state(), devices })

      const addresses = [...taker.mappings, ...taken].map(addressOf)
      assert.strictEqual(new Set(addresses).size, addresses.length)
      for (const one of taken) assert.notInclude(here.addresses, addressOf(one))
      here.restart(reserved)
      const later = ["alice", "bob"].flatMap((client) => Array.from({ length: 4 }, () => here.tell(client, "new.corp")))
      for (const address of later) assert.notInclude([...there.addresses, ...addresses], address)
      const again = importNames(
        {
          ...taker,
          mappings: [...taker.mappings, ...taken],
          reserved: new Map([...taker.reserved, ...reserved])
        },
        { ...there.state(), devices }
      )
      assert.deepStrictEqual([again.taken, again.reserved.size], [[], 0])
    },
    { arbitrary: { runs: 300, seed: 7 } }
  )
})

const span = (from: number, to: number) => ({ from, to })
const addressOf = ({ client, slot }: { readonly client: string; readonly slot: number }) => `${client} ${slot}`

/** A gateway that sets slots aside two at a time, and at its start for everybody. */
const aLife = (spans: ReadonlyArray<{ readonly from: number; readonly to: number }>) => {
  const slots = spans.flatMap(({ from, to }) => Array.from({ length: to - from }, (_, i) => from + i))
  // Behind them others come, as in a site.
  const slotAt = (n: number) => slots[n] ?? 10_000 + n
  const next = new Map([...devices.keys()].map((client) => [client, 0]))
  const reserved = new Map([...devices.keys()].map((client) => [client, 2]))
  const mappings = new Map<string, ReturnType<typeof mapping>>()
  const addresses: Array<string> = []
  const clients = new Set<string>()
  return {
    addresses,
    clients,
    state: () => ({ mappings: [...mappings.values()], reserved: new Map(reserved) }),
    restart: (more: ReadonlyMap<string, number>) => {
      for (const [client, count] of [...reserved, ...more]) {
        reserved.set(client, count)
        next.set(client, count)
      }
    },
    tell: (client: string, domain: string, isReleased = false) => {
      const n = next.get(client)!
      next.set(client, n + 1)
      if (n >= reserved.get(client)!) reserved.set(client, n + 2)
      const one = mapping(client, slotAt(n), domain)
      if (!isReleased) mappings.set(addressOf(one), one)
      addresses.push(addressOf(one))
      clients.add(client)
      return addressOf(one)
    }
  }
}
