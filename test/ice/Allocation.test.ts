import { assert, describe, it } from "@effect/vitest"
import { isIpv4 } from "../../src/packet/address.ts"
import { StunMethod } from "../../src/ice/stunProtocol.ts"
import { integer } from "../support/packetArbitraries.ts"
import { at, randomFrom, RelayWorld, relayA } from "../support/relayWorld.ts"
import type { TurnServer } from "../support/turnServer.ts"

const { allocate, binding, refresh } = StunMethod

/** A world with one relay that has an allocation. */
const allocated = () => {
  const world = new RelayWorld()
  const server = world.addServer()
  world.set({ a: server })
  world.run(100)
  assert.isTrue(world.relays.isAllocated(relayA))
  world.news()
  return { world, server }
}

const requests = (server: TurnServer, ...methods: ReadonlyArray<number>) =>
  server.log.filter(({ method }) => methods.includes(method)).map(({ error, method }) => [method, error])

describe("making an allocation", () => {
  it("binds on both families, allocates over one and tells host and relayed addresses", () => {
    const world = new RelayWorld()
    const server = world.addServer()

    world.set({ a: server })
    world.run(100)

    assert.deepStrictEqual(world.news(), [
      "found a host 192.0.2.10:52625",
      "found a host [2001:db8::10]:52625",
      "found a relay 198.51.100.9:50000",
      "found a relay [2001:db8:9::9]:50000"
    ])
    assert.deepStrictEqual(requests(server, binding, allocate), [
      [binding, 0],
      [binding, 0],
      [allocate, 401],
      [allocate, 0]
    ])
  })

  it("goes over the family that answers first", () => {
    const world = new RelayWorld()
    const server = world.addServer()
    world.drops = ({ to }) => isIpv4(to.address)

    world.set({ a: server })
    world.run(100)

    assert.deepStrictEqual(world.news(), [
      "found a host [2001:db8::10]:52625",
      "found a relay 198.51.100.9:50000",
      "found a relay [2001:db8:9::9]:50000"
    ])
  })

  it("tells the address that a NAT gave us, based on our own", () => {
    const world = new RelayWorld()
    const server = world.addServer({ addresses: [at("203.0.113.1:3478")] })
    world.nat = () => at("203.0.113.77:4000")

    world.set({ a: server })
    world.run(100)

    assert.deepStrictEqual(world.news().slice(0, 2), [
      "found a host 192.0.2.10:52625",
      "found a srflx 203.0.113.77:4000"
    ])
    const reflexive = world.relays.candidates(relayA).find(({ kind }) => kind === "srflx")
    assert.deepStrictEqual(reflexive?.base, at("192.0.2.10:52625"))
  })

  it("serves one family at a relay that has no other address", () => {
    const world = new RelayWorld()
    world.set({ a: world.addServer({ relayed6: null }) })
    world.run(100)
    assert.deepStrictEqual(
      world.news().filter((line) => line.includes("relay ")),
      ["found a relay 198.51.100.9:50000"]
    )
  })

  it("asks for one family after the other at a relay that refuses both at once", () => {
    const world = new RelayWorld()
    const server = world.addServer({ relayed4: null })
    server.dualFamily = false

    world.set({ a: server })
    world.run(200)

    assert.deepStrictEqual(requests(server, allocate), [
      [allocate, 401],
      [allocate, 440],
      [allocate, 440],
      [allocate, 0]
    ])
    assert.include(world.news(), "found a relay [2001:db8:9::9]:50000")
  })

  it("is refused by a relay without any family, and asks again later", () => {
    const world = new RelayWorld()
    const server = world.addServer({ relayed4: null, relayed6: null })
    world.set({ a: server })

    world.run(1000)
    assert.include(world.news(), "relay a lost: Refused, 0 left")
    server.relayed4 = "198.51.100.9"
    world.run(80_000)

    assert.include(world.news(), "found a relay 198.51.100.9:50000")
  })

  it("is not made by an answer without the right integrity", () => {
    const world = new RelayWorld()
    const server = world.addServer()
    server.forge = true

    world.set({ a: server })
    world.run(8_100)

    assert.isFalse(world.relays.isAllocated(relayA))
    assert.include(world.news(), "relay a lost: Unreachable, 0 left")
  })

  it("is made, refreshed and repaired at a relay that signs nothing, as the portal's did until November 2024", () => {
    const first = new RelayWorld()
    const server = first.addServer()
    server.unsigned = true
    first.set({ a: server })
    first.run(100)
    assert.isTrue(first.relays.isAllocated(relayA))
    first.run(400_000)
    assert.isAbove(server.count(refresh), 0)
    server.log.length = 0

    const second = new RelayWorld()
    second.servers.push(server)
    second.set({ a: server })
    second.run(200)

    assert.deepStrictEqual(requests(server, allocate, refresh), [
      [allocate, 401],
      [allocate, 437],
      [refresh, 0],
      [allocate, 0]
    ])
    assert.isTrue(second.relays.isAllocated(relayA))
  })

  it("does not believe unsigned answers of a relay that has signed one", () => {
    const { world, server } = allocated()
    server.unsigned = true
    server.refuse.set(refresh, 437)

    world.run(305_000)

    assert.isAbove(server.count(refresh, 437), 0)
    assert.isTrue(world.relays.isAllocated(relayA))
    assert.deepStrictEqual(world.news(), [])
  })

  it("with wrong credentials is lost after one try, and made once they are right", () => {
    const world = new RelayWorld()
    const server = world.addServer()
    world.set({ a: server }, "ann", "wrong")

    world.run(30_000)
    assert.deepStrictEqual(requests(server, allocate), [
      [allocate, 401],
      [allocate, 401]
    ])
    assert.include(world.news(), "relay a lost: WrongCredentials, 0 left")
    world.set({ a: server }, "ann", "secret")
    world.run(100)

    assert.isTrue(world.relays.isAllocated(relayA))
  })

  it.each([442, 486, 508, 403, 500])("refused with %i is lost, and tried again a minute later", (code) => {
    const world = new RelayWorld()
    const server = world.addServer()
    server.refuse.set(allocate, code)
    world.set({ a: server })

    world.run(40_000)
    assert.deepStrictEqual(requests(server, allocate), [
      [allocate, 401],
      [allocate, code]
    ])
    assert.include(world.news(), "relay a lost: Refused, 0 left")
    server.refuse.clear()
    world.run(40_000)

    assert.isTrue(world.relays.isAllocated(relayA))
  })

  it("takes the allocation of an earlier life away first (437)", () => {
    const first = new RelayWorld()
    const server = first.addServer()
    first.set({ a: server })
    first.run(100)
    server.log.length = 0

    const second = new RelayWorld()
    second.servers.push(server)
    second.set({ a: server })
    second.run(200)

    assert.deepStrictEqual(requests(server, allocate, refresh), [
      [allocate, 401],
      [allocate, 437],
      [refresh, 0],
      [allocate, 0]
    ])
    assert.include(second.news(), "found a relay 198.51.100.9:50001")
  })

  it("does not hammer a relay that insists on an allocation that it does not have", () => {
    const world = new RelayWorld()
    const server = world.addServer()
    server.refuse.set(allocate, 437)
    world.set({ a: server })

    world.run(60_000)

    assert.isBelow(server.count(allocate, 437), 35)
    assert.include(world.news(), "relay a lost: Refused, 0 left")
  })

  it("asks a silent relay 1, 2.5 and 4.75 s later again and gives up after 8 s", () => {
    const world = new RelayWorld()
    const server = world.addServer({ addresses: [at("203.0.113.1:3478")] })
    server.silent = true

    world.set({ a: server })
    const times: Array<number> = []
    for (let sent = 0; world.now < 8_000; world.run(10)) {
      if (world.sent > sent) times.push(world.now)
      sent = world.sent
    }

    assert.deepStrictEqual(times, [0, 1_000, 2_500, 4_750])
    assert.deepStrictEqual(world.news(), ["relay a lost: Unreachable, 0 left"])
  })

  it.prop(
    "is made whichever fifth of the datagrams gets lost",
    [integer(1, 1_000_000)],
    ([seed]) => {
      const world = new RelayWorld()
      const random = randomFrom(seed)
      world.drops = () => random() < 0.2
      world.set({ a: world.addServer() })
      world.run(180_000)
      assert.isTrue(world.told.some((line) => line.startsWith("found a relay 198.51.100.9:")))
    },
    { arbitrary: { runs: 200 } }
  )
})

describe("keeping an allocation", () => {
  it("refreshes it at half of its lifetime, and binds every 25 s over both families", () => {
    const { server, world } = allocated()
    server.log.length = 0

    world.run(299_000)
    assert.strictEqual(server.count(refresh), 0)
    world.run(2_000)
    assert.strictEqual(server.count(refresh), 1)
    world.run(3_600_000)

    assert.isTrue(world.relays.isAllocated(relayA))
    assert.strictEqual(server.count(refresh), 13)
    assert.approximately(server.count(binding), (2 * 3_901) / 25, 3)
    assert.deepStrictEqual(world.news(), [])
  })

  it("goes by the relay's lifetime", () => {
    const world = new RelayWorld()
    const server = world.addServer()
    server.lifetime = 60
    world.set({ a: server })
    world.run(600_000)
    assert.approximately(server.count(refresh), 20, 1)
    assert.strictEqual(server.count(allocate), 1)
  })

  it("is not hurried by a lifetime of one second more than every 5 s", () => {
    const world = new RelayWorld()
    const server = world.addServer()
    server.lifetime = 1
    world.set({ a: server })
    world.run(60_000)
    assert.isBelow(server.log.length, 60)
  })

  it("takes a new nonce when the old one is stale (438), and stops after a few in a row", () => {
    const { server, world } = allocated()
    server.staleNext = 2
    world.run(301_000)
    assert.deepStrictEqual(requests(server, refresh), [
      [refresh, 438],
      [refresh, 438],
      [refresh, 0]
    ])
    assert.deepStrictEqual(world.news(), [])

    server.staleNext = 1_000
    world.run(310_000)

    assert.isBelow(server.count(refresh, 438), 10)
    assert.include(world.news(), "relay a lost: Refused, 0 left")
  })

  it("goes on with the old credentials while they work, and with the new ones as soon as they do not", () => {
    const { server, world } = allocated()
    world.set({ a: server }, "bob", "other")
    world.run(400_000)
    assert.deepStrictEqual(world.news(), [])

    server.users = { bob: "other" }
    server.restart()
    world.run(400_000)

    assert.deepStrictEqual(world.news(), [
      "lost a relay 198.51.100.9:50000",
      "lost a relay [2001:db8:9::9]:50000",
      "found a relay 198.51.100.9:50001",
      "found a relay [2001:db8:9::9]:50001"
    ])
  })

  it("is lost with wrong credentials when the relay does not know them any more", () => {
    const { server, world } = allocated()
    server.users = {}
    server.restart()
    world.run(301_000)
    assert.deepStrictEqual(world.news(), [
      "lost a relay 198.51.100.9:50000",
      "lost a relay [2001:db8:9::9]:50000",
      "relay a lost: WrongCredentials, 0 left"
    ])
  })

  it("is given back with its candidates when the relay is taken away", () => {
    const { server, world } = allocated()
    world.set({})
    world.run(100)

    assert.deepStrictEqual(server.liveAllocations(world.now), [])
    assert.deepStrictEqual(world.news(), [
      "lost a host 192.0.2.10:52625",
      "lost a host [2001:db8::10]:52625",
      "lost a relay 198.51.100.9:50000",
      "lost a relay [2001:db8:9::9]:50000",
      "relay a lost: Removed, 0 left"
    ])
    const { sent } = world
    world.run(600_000)
    assert.strictEqual(world.sent, sent)
  })

  it("is given back when all is closed", () => {
    const { server, world } = allocated()
    world.relays.close()
    world.run(100)
    assert.deepStrictEqual(server.liveAllocations(world.now), [])
    assert.strictEqual(world.relays.nextDeadline(), Infinity)
  })
})

describe("repairing an allocation", () => {
  const repaired = [
    "lost a relay 198.51.100.9:50000",
    "lost a relay [2001:db8:9::9]:50000",
    "found a relay 198.51.100.9:50001",
    "found a relay [2001:db8:9::9]:50001"
  ]

  it("finds out at the refresh that the relay forgot it (437)", () => {
    const { server, world } = allocated()
    server.restart()
    world.run(301_000)
    assert.deepStrictEqual(world.news(), repaired)
  })

  it("finds out at the next channel that the relay forgot it (437)", () => {
    const { server, world } = allocated()
    server.restart()
    world.relays.open(relayA, at("203.0.113.50:1000"), world.now)
    world.run(200)
    assert.deepStrictEqual(world.news(), repaired)
  })

  it("finds out within 6 s when what it sends stays unanswered", () => {
    const { server, world } = allocated()
    const handle = world.relays.open(relayA, at("203.0.113.50:1000"), world.now)
    world.run(1_000)
    world.news()
    server.restart()
    for (let i = 0; i < 12; i++) {
      world.sendData(handle, "lost")
      world.run(500)
    }
    assert.deepStrictEqual(world.news(), repaired)
    assert.isUndefined(world.relays.channels.get(handle))
  })

  it("does not suspect a relay that brings answers", () => {
    const { server, world } = allocated()
    const peer = at("203.0.113.50:1000")
    const handle = world.relays.open(relayA, peer, world.now)
    world.run(100)
    for (let i = 0; i < 100; i++) {
      world.sendData(handle, "ping")
      world.peerSends(server, peer, world.relayed(), "pong")
      world.run(1_000)
    }
    assert.strictEqual(server.count(refresh), 0)
    assert.strictEqual(world.received.length, 100)
  })

  it("notices that a NAT gave us another address: the relay knows us no more under it", () => {
    const { world } = allocated()
    world.nat = (address) => (isIpv4(address.address) ? at("203.0.113.77:4000") : address)
    world.run(26_000)
    assert.deepStrictEqual(world.news(), ["found a srflx 203.0.113.77:4000", ...repaired])
    world.nat = (address) => (isIpv4(address.address) ? at("203.0.113.77:4001") : address)
    world.run(26_000)
    assert.include(world.news(), "found a srflx 203.0.113.77:4001")
    assert.isTrue(world.relays.isAllocated(relayA))
  })

  it("loses everything of a relay that falls silent within 34 s, and finds it again within 30 s of its return", () => {
    const { server, world } = allocated()
    server.silent = true
    world.run(34_000)
    assert.deepStrictEqual(world.news().toSorted(), [
      "lost a host 192.0.2.10:52625",
      "lost a host [2001:db8::10]:52625",
      "lost a relay 198.51.100.9:50000",
      "lost a relay [2001:db8:9::9]:50000",
      "relay a lost: Unreachable, 0 left"
    ])

    world.run(3_600_000)
    assert.deepStrictEqual(world.news(), [])
    server.silent = false
    world.run(34_000)

    assert.isTrue(world.relays.isAllocated(relayA))
    assert.deepStrictEqual(server.violations, [])
  })

  it("goes over the other family when the one in use falls silent", () => {
    const { world } = allocated()
    world.drops = ({ to }) => isIpv4(to.address)
    world.run(34_000)
    assert.deepStrictEqual(world.news(), ["lost a host 192.0.2.10:52625", ...repaired])
  })

  it("leaves a relay alone for longer and longer when it answers Binding only", () => {
    const { server, world } = allocated()
    server.deaf = true
    world.run(900_000)
    const before = world.sent
    world.run(600_000)
    // 48 Bindings in that time, and at most 9 tries with 4 datagrams and one more Binding each.
    assert.isBelow(world.sent - before, 48 + 9 * 5)
    assert.include(world.news(), "relay a lost: Unreachable, 0 left")

    server.deaf = false
    world.run(80_000)
    assert.isTrue(world.relays.isAllocated(relayA))
  })

  it("repairs a relay that restarts again and again, without telling that it is lost", () => {
    const { server, world } = allocated()
    for (let i = 0; i < 5; i++) {
      server.restart()
      world.run(20_000)
      world.relays.open(relayA, at("203.0.113.50:1000"), world.now)
      world.run(1_000)
    }
    assert.isTrue(world.relays.isAllocated(relayA))
    assert.isFalse(world.news().some((line) => line.startsWith("relay a lost")))
  })
})
