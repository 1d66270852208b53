import { assert, describe, it } from "@effect/vitest"
import { describeEvent } from "../../src/events/describeEvent.ts"
import type { Event } from "../../src/events/Event.ts"
import { EventStore } from "../../src/events/EventStore.ts"

const refused = (client: string, port: number, packets = 1): Event => ({
  _tag: "Refused",
  client,
  packets,
  reason: "filtered",
  to: { domain: null, resource: "lab", address: "10.20.0.7", protocol: "tcp", port }
})

describe("events that are kept", () => {
  it("of one client's port scan leave the others theirs, and have a bound", () => {
    const store = new EventStore()
    store.add(refused("bob", 22), 0)
    for (let port = 1; port < 20_000; port++) store.add(refused("scanner", port), 1_000)
    store.add(refused("carol", 22), 2_000)
    const clients = store.list(2_000).map(({ event }) => ("client" in event ? event.client : null))
    assert.isAtMost(clients.length, 2_048)
    assert.strictEqual(clients[0], "bob")
    assert.strictEqual(clients.at(-1), "carol")
  })

  it("of more clients than there is room for are the latest", () => {
    const store = new EventStore()
    for (let n = 0; n < 5_000; n++) store.add(refused(`client ${n}`, 22), n)
    assert.strictEqual(store.list(5_000).length, 2_048)
  })

  it("of one kind leave the other kinds theirs", () => {
    const store = new EventStore()
    store.add({ _tag: "Revoked", client: "bob", resource: "lab" }, 0)
    for (let port = 1; port < 20_000; port++) store.add(refused("bob", port), 1_000)
    assert.strictEqual(store.list(1_000)[0]?.event._tag, "Revoked")
  })

  it("of keys that nobody knows have a bound of their own", () => {
    const store = new EventStore()
    store.add({ _tag: "Expired", client: "bob", resource: "lab" }, 0)
    for (let i = 0; i < 10_000; i++) {
      store.add({ _tag: "UnknownDevice", publicKey: `key ${i}`, endpoint: "192.0.2.9:1", handshakes: 1 }, i)
    }
    assert.strictEqual(store.list(10_000).length, 257)
  })

  it("are one sum while they repeat themselves within a minute, and go after a day", () => {
    const store = new EventStore()
    for (const at of [0, 30_000, 60_000]) store.add(refused("bob", 22, 3), at)
    store.add(refused("bob", 22, 1), 200_000)
    assert.deepStrictEqual(
      store.list(200_000).map(({ event }) => (event._tag === "Refused" ? event.packets : null)),
      [9, 1]
    )
    assert.deepStrictEqual(store.list(200_000 + 24 * 3_600_000 + 1), [])
  })
})

describe("an event as text", () => {
  it("shows names of the network without what a terminal would act upon", () => {
    const hostile = "evil\u001B[2J\r\nrefused nobody\u202Eten\u2028.corp\u009B31m"
    const text = describeEvent({ _tag: "Question", client: "bob", domain: hostile, type: 1, outcome: "NameError" })
    assert.notMatch(text, /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u)
    assert.include(text, "evil?[2J??refused nobody?ten?.corp?31m")
  })
})
