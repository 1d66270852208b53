import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { ClientId } from "../../src/model/Client.ts"
import { clients, Gateway, keyOf, Site, stateOf } from "./ownershipModel.ts"

const gateway = Schema.Literals([0, 1, 2])
const client = Schema.Literals(clients)
const Connect = Schema.TaggedStruct("Connect", { client, gateway })
const Pass = Schema.TaggedStruct("Pass", { ms: Schema.Literals([500, 1_000, 2_000, 3_000, 4_000, 16_000, 40_000]) })
const Step = Schema.Union([
  Connect,
  Connect,
  Connect,
  Pass,
  Pass,
  Pass,
  Pass,
  Schema.TaggedStruct("Answer", { client }),
  Schema.TaggedStruct("Crash", { gateway }),
  Schema.TaggedStruct("Start", { gateway }),
  Schema.TaggedStruct("Start", { gateway }),
  Schema.TaggedStruct("Reach", { gateway, engine: Schema.Literals([true, true, false]) }),
  Schema.TaggedStruct("Move", { to: Schema.NullOr(gateway) }),
  Schema.TaggedStruct("Engine", { ahead: Schema.Literals([-20_000, 5_000, 60_000]), loses: Schema.Boolean })
])
type Step = typeof Step.Type

const take = (site: Site, step: Step): void => {
  switch (step._tag) {
    case "Connect":
      return site.connect(step.client, step.gateway)
    case "Answer":
      return site.answer(step.client)
    case "Pass":
      return site.pass(step.ms)
    case "Crash":
      return site.gateways[step.gateway]!.crash()
    case "Start":
      return site.gateways[step.gateway]!.start()
    case "Reach":
      return site.gateways[step.gateway]!.reach(step.engine)
    case "Move":
      return site.moveAddress(step.to)
    case "Engine":
      if (step.loses) site.crash()
      else site.ahead += step.ahead
  }
}

/** Gateways that have met for a while; alice and then bob are at the first one, carol at the second. */
const settled = () => {
  const site = new Site()
  for (const gateway of site.gateways) gateway.start()
  site.pass(20_000)
  const [first, second, third] = site.gateways as [Gateway, Gateway, Gateway]
  site.connect(alice, 0)
  site.pass(1_000)
  site.connect(bob, 0)
  site.connect(carol, 1)
  site.pass(1_000)
  return { site, first, second, third }
}
const [alice, bob, carol] = clients as [ClientId, ClientId, ClientId]
const callsOf = (...gateways: ReadonlyArray<Gateway>) => gateways.map(({ calls }) => calls)

describe("when a gateway ends, its clients", () => {
  it("are called by one of the others after 3 s, the one that was there last first", () => {
    const { first, second, site, third } = settled()
    first.crash()
    site.pass(2_000)
    assert.deepStrictEqual(callsOf(second, third), [[], []])
    site.pass(3_000)
    assert.deepStrictEqual(second.calls.length === 0 ? third.calls : second.calls, [bob, alice])
    site.pass(60_000)
    assert.lengthOf([...second.calls, ...third.calls], 2)
  })

  it("are called no more once they are at another one, or their gateway is back, which calls nobody then", () => {
    const { first, second, site, third } = settled()
    first.crash()
    site.pass(5_000)
    const heir = second.calls.length > 0 ? second : third
    site.answer(bob)
    first.start()
    site.pass(1_500)
    assert.deepStrictEqual([...heir.calling.keys()], [])
    assert.deepStrictEqual(first.calls, [])
    site.pass(2_000)
    assert.strictEqual(first.ownership!.report().owners.get(bob), heir.no)
  })

  it("are called by it again when it is back before anybody has noticed", () => {
    const { first, second, site, third } = settled()
    first.crash()
    first.start()
    site.pass(5_000)
    assert.deepStrictEqual(callsOf(first, second, third), [[bob, alice], [], []])
  })

  it("are called by the next one if their heir ends as well", () => {
    const { first, second, site, third } = settled()
    first.crash()
    site.pass(5_000)
    const heir = second.calls.length > 0 ? second : third
    const next = heir === second ? third : second
    heir.crash()
    site.pass(5_000)
    assert.includeMembers(next.calls, [alice, bob])
  })

  it("are called only from the address that they sent to, as soon as it is here", () => {
    const { first, second, site, third } = settled()
    second.addresses = new Set(["198.51.100.2"])
    third.addresses = second.addresses
    first.crash()
    site.pass(5_000)
    assert.deepStrictEqual(callsOf(second, third), [[], []])
    site.moveAddress(2)
    site.pass(1_000)
    assert.deepStrictEqual(third.calls, [bob, carol, alice])
  })

  it("are called though the engine's clock was set back after it was heard of last", () => {
    const { first, second, site, third } = settled()
    first.crash()
    site.ahead -= 60_000
    site.pass(20_000)
    assert.deepStrictEqual([...second.calls, ...third.calls], [bob, alice])
  })

  it("are left alone if their last handshake was more than three minutes before", () => {
    const { first, second, site, third } = settled()
    site.pass(175_000)
    site.connect(bob, 0)
    site.pass(5_000)
    first.crash()
    site.pass(5_000)
    assert.deepStrictEqual([...second.calls, ...third.calls], [bob])
  })
})

describe("with a virtual address", () => {
  it("the one to which it comes calls everybody else's clients at once, whether their gateways live or not", () => {
    const { first, second, site, third } = settled()
    first.crash()
    site.moveAddress(2)
    site.pass(1_000)
    assert.deepStrictEqual(callsOf(second, third), [[], [bob, carol, alice]])
    site.pass(10_000)
    assert.lengthOf(third.calls, 3)
  })

  it("the one to which it comes calls who was there in its life before, too", () => {
    const { first, second, site, third } = settled()
    for (const gateway of [first, second, third]) gateway.crash()
    first.addresses = new Set()
    first.start()
    site.pass(2_000)
    assert.deepStrictEqual(first.calls, [])
    site.moveAddress(0)
    site.pass(1_000)
    assert.deepStrictEqual(first.calls, [bob, carol, alice])
  })

  it("nobody else calls, be it that a gateway is silent, or has started again", () => {
    const { first, second, site, third } = settled()
    third.move("here")
    site.pass(1_000)
    second.crash()
    first.crash()
    first.start()
    site.pass(10_000)
    assert.deepStrictEqual(callsOf(first, third), [[], [bob, carol, alice]])
  })

  it("nobody calls while it is at no gateway, and calls end at once when it goes away", () => {
    const { first, second, site, third } = settled()
    site.moveAddress(2)
    site.pass(1_000)
    assert.isAbove(third.calling.size, 0)
    site.moveAddress(null)
    assert.strictEqual(third.calling.size, 0)
    first.crash()
    site.pass(10_000)
    assert.deepStrictEqual(callsOf(second, third), [[], [bob, carol, alice]])
  })

  it("that two say they have, both know it, and the one that got it last calls", () => {
    const { first, second, site, third } = settled()
    first.move("here")
    site.pass(1_000)
    second.move("here")
    site.pass(2_000)
    assert.deepStrictEqual([first.rivals, second.rivals, third.rivals], [[1], [0], []])
    third.crash()
    first.calls.length = 0
    second.calls.length = 0
    site.connect(carol, 2)
    site.pass(10_000)
    assert.deepStrictEqual(first.calls, [])
  })
})

describe("without the engine", () => {
  it("a gateway calls nobody, and goes on to say where clients were last", () => {
    const { first, second, site, third } = settled()
    second.reach(false)
    third.reach(false)
    first.crash()
    site.pass(20_000)
    second.move("here")
    site.pass(1_000)
    assert.deepStrictEqual(callsOf(second, third), [[], []])
    assert.deepStrictEqual(
      [...third.ownership!.report().owners],
      [
        [alice, 0],
        [bob, 0],
        [carol, 1]
      ]
    )
    second.reach(true)
    site.pass(1_000)
    assert.deepStrictEqual(second.calls, [bob, alice])
  })

  it("the calls that are under way end, and begin anew when it is back", () => {
    const { first, second, site } = settled()
    first.crash()
    site.moveAddress(1)
    site.pass(1_000)
    site.answer(bob)
    second.reach(false)
    site.pass(5_000)
    assert.strictEqual(second.calling.size, 0)
    second.reach(true)
    site.pass(1_000)
    assert.deepStrictEqual(second.calls, [bob, alice, alice])
  })

  it("those of an heir, too", () => {
    const { first, second, site, third } = settled()
    third.crash()
    first.crash()
    site.pass(5_000)
    second.reach(false)
    site.pass(5_000)
    second.reach(true)
    site.pass(20_000)
    assert.deepStrictEqual(second.calls, [bob, alice, bob, alice])
  })

  it("which comes back without all that it had, clients of a gateway that ended meanwhile are called all the same", () => {
    const { first, second, site, third } = settled()
    for (const gateway of [first, second, third]) gateway.reach(false)
    first.crash()
    site.pass(200_000)
    site.crash()
    site.moveAddress(1)
    site.pass(1_000)
    assert.deepStrictEqual(second.calls, [bob, alice])
  })

  it("for all of them, nobody who is back sooner calls the clients of one that is back later", () => {
    const { first, second, site, third } = settled()
    for (const gateway of [first, second, third]) gateway.reach(false)
    site.pass(60_000)
    second.reach(true)
    site.pass(12_000)
    first.reach(true)
    third.reach(true)
    site.pass(30_000)
    assert.deepStrictEqual(callsOf(first, second, third), [[], [], []])
  })
})

describe("what was seen here is said again", () => {
  it("when the engine has lost it", () => {
    const { site, third } = settled()
    site.crash()
    third.crash()
    third.start()
    site.pass(2_000)
    const { owners } = third.ownership!.report()
    assert.deepStrictEqual([owners.get(alice), owners.get(carol)], [0, 1])
  })

  it("when there was no answer, and not once there was one", () => {
    const { first, site } = settled()
    const ownership = first.ownership!
    ownership.observe(stateOf(alice, { handshakeAt: first.now, lastTai64n: "1".repeat(24) }))
    const { sightings } = ownership.hello(0, 51_820)
    assert.lengthOf(sightings, 1)
    assert.deepStrictEqual(ownership.miss(first.now), [])
    assert.deepStrictEqual(ownership.hello(0, 51_820).sightings, sightings)
    ownership.miss(first.now)
    site.pass(1_000)
    assert.deepStrictEqual(ownership.hello(0, 51_820).sightings, [])
  })
})

it("a client that goes to and fro is told of once a minute", () => {
  const { first, site } = settled()
  for (let i = 0; i < 60; i++) {
    site.connect(alice, i % 2)
    site.pass(2_000)
  }
  assert.deepStrictEqual(
    first.flapping.map(({ client, others }) => [client, others]),
    [
      [alice, 0],
      [alice, 0]
    ]
  )
  assert.isAtLeast(first.flapping[0]!.moves, 7)
})

describe("a client", () => {
  it("new in the policy is told with where it was seen before", () => {
    const { site, third } = settled()
    const names = clients.map((id) => ({ id, publicKey: keyOf(id) }))
    third.crash()
    third.start()
    third.ownership!.follow(names.slice(1))
    site.pass(2_000)
    assert.isFalse(third.labels.has(alice))
    third.ownership!.follow(names)
    site.pass(1_000)
    assert.isTrue(third.labels.has(alice))
  })

  it("is counted as long as it is connected, whatever device it has", () => {
    const { first } = settled()
    const ownership = first.ownership!
    const before = ownership.hello(0, 51_820).clients
    const dave = ClientId.make("dave")
    const counted = [
      stateOf(dave, { connected: true }),
      stateOf(dave, { connected: true, publicKey: keyOf(alice) }),
      stateOf(dave, { connected: false }),
      stateOf(dave, { connected: true })
    ].map((state) => {
      ownership.observe(state)
      return ownership.hello(0, 51_820).clients - before
    })
    ownership.leave(dave)
    ownership.leave(dave)
    assert.deepStrictEqual(counted, [1, 1, 0, 1])
    assert.strictEqual(ownership.hello(0, 51_820).clients, before)
  })

  it("that is none any more, or whose device is another one's now, is not told of", () => {
    const { first } = settled()
    const ownership = first.ownership!
    const dave = ClientId.make("dave")
    ownership.observe(stateOf(dave, { handshakeAt: first.now }))
    ownership.observe(stateOf(bob, { handshakeAt: first.now, publicKey: keyOf(alice) }))
    ownership.observe(stateOf(alice, { handshakeAt: first.now }))
    assert.deepStrictEqual(
      ownership.hello(0, 51_820).sightings.map(({ publicKey }) => publicKey),
      [keyOf(alice)]
    )
  })

  it("whose path ICE finds, or that is next door, is nobody else's business", () => {
    const { first } = settled()
    const near = { address: "fe80::1", port: 1_000, interfaceIndex: 2 }
    first.ownership!.observe(stateOf(alice, { handshakeAt: first.now, lastTai64n: "f".repeat(24), endpoint: near }))
    first.ownership!.observe(stateOf(bob, { handshakeAt: first.now, lastTai64n: "f".repeat(24), path: "direct" }))
    assert.deepStrictEqual(first.ownership!.hello(0, 51_820).sightings, [])
  })
})

describe("gateways of a site, whatever happens to any of them", () => {
  it.prop(
    "no two call a client at a time, nobody calls one that is at a gateway that lives, and all agree on where each went last",
    [Schema.Array(Step).check(Schema.isMinLength(20), Schema.isMaxLength(60))],
    ([steps]) => {
      const site = new Site()
      for (const gateway of site.gateways) gateway.start()
      for (const step of steps) take(site, step)
      site.pass(4_000)
      site.agree()
    },
    { arbitrary: { runs: 150, seed: 7 } }
  )
})
