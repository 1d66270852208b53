import { assert, describe, it } from "@effect/vitest"
import { Activity } from "../../src/dataplane/Activity.ts"
import { ClientId } from "../../src/model/Client.ts"
import { MappingId } from "../../src/model/Mapping.ts"

const none = { addresses: [], clients: [], strangers: [] }
const stranger = (publicKey: string) => ({ publicKey, address: "192.0.2.9", port: 1, handshakes: 1 })

describe("what is known of devices that nobody knows", () => {
  it("stays with the one that keeps knocking while others name ever new keys", () => {
    const activity = new Activity()
    for (let i = 0; i < 1_000; i++) {
      activity.observe({ ...none, strangers: [stranger(`made up ${i}`), stranger("a lost laptop")] }, i)
    }
    const known = activity.strangers(1_000)
    assert.strictEqual(known.length, 64)
    assert.isTrue(known.some((each) => each.publicKey === "a lost laptop" && each.handshakes === 1_000))
  })

  it("goes once the device is a client, and after an hour", () => {
    const activity = new Activity()
    activity.observe({ ...none, strangers: [stranger("a"), stranger("b")] }, 0)
    activity.forgetStranger("a")
    assert.deepStrictEqual(
      activity.strangers(1).map(({ publicKey }) => publicKey),
      ["b"]
    )
    assert.deepStrictEqual(activity.strangers(3_600_000), [])
  })
})

describe("what is known of a client", () => {
  it("is the sum of what workers told, and its flows end with the worker", () => {
    const activity = new Activity()
    const client = ClientId.make("alice")
    const row = {
      client,
      bytesIn: 10,
      bytesOut: 20,
      refused: 1,
      flows: 3,
      unusedAnswers: 4,
      heardAgo: 5,
      activeAgo: null
    }
    activity.observe({ ...none, clients: [row] }, 100)
    activity.restart()
    activity.observe({ ...none, clients: [{ ...row, flows: 0, unusedAnswers: 0, heardAgo: 0 }] }, 200)
    assert.deepStrictEqual(activity.clients.get(client), {
      bytesIn: 20,
      bytesOut: 40,
      refused: 2,
      flows: 0,
      unusedAnswers: 0,
      heardAt: 200,
      activeAt: null
    })
  })
})

describe("addresses that do not answer", () => {
  it("are told until they do, or until a new worker has to learn who does", () => {
    const activity = new Activity()
    const row = {
      mapping: MappingId.make("alice/app/app.corp"),
      address: "10.0.5.10",
      tries: 2,
      sinceAgo: 40,
      repliedAgo: null
    }
    activity.observe({ ...none, addresses: [row] }, 100)
    assert.deepStrictEqual(
      activity.silentAddresses.map(({ since, tries }) => [since, tries]),
      [[60, 2]]
    )
    activity.observe({ ...none, addresses: [{ ...row, tries: 0 }] }, 200)
    assert.deepStrictEqual(activity.silentAddresses, [])
    activity.observe({ ...none, addresses: [row] }, 300)
    activity.restart()
    assert.deepStrictEqual(activity.silentAddresses, [])
  })
})
