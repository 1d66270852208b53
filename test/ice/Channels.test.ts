import { assert, describe, it } from "@effect/vitest"
import { Arbitrary } from "effect"
import { firstChannelNumber, lastChannelNumber } from "../../src/ice/channelTable.ts"
import { StunMethod } from "../../src/ice/stunProtocol.ts"
import { formatTransport } from "../../src/packet/transportAddress.ts"
import { integer } from "../support/packetArbitraries.ts"
import { at, RelayWorld, relayA } from "../support/relayWorld.ts"

const peer = at("203.0.113.50:1000")
const minute = 60_000

const allocated = (options: ConstructorParameters<typeof RelayWorld>[0] = {}) => {
  const world = new RelayWorld(options)
  const server = world.addServer()
  world.set({ a: server })
  world.run(10 * 50)
  assert.isTrue(world.relays.isAllocated(relayA))
  world.news()
  const open = (to = peer) => world.relays.open(relayA, to, world.now)
  return { world, server, open }
}

describe("a channel", () => {
  it("carries data both ways, in both families, from and to the relayed address of that family", () => {
    const { open, server, world } = allocated()
    const peer6 = at("[2001:db8:5::5]:1000")
    const [handle, handle6] = [open(), open(peer6)]
    world.run(100)
    assert.deepStrictEqual(world.news(), ["bound 203.0.113.50:1000", "bound [2001:db8:5::5]:1000"])

    world.sendData(handle, "to 4")
    world.sendData(handle6, "to 6")
    world.peerSends(server, peer, world.relayed(), "from 4")
    world.peerSends(server, peer6, world.relayed(relayA, false), "from 6")
    world.run(100)

    assert.deepStrictEqual(server.delivered, [
      { peer, relayed: at("198.51.100.9:50000"), text: "to 4" },
      { peer: peer6, relayed: at("[2001:db8:9::9]:50000"), text: "to 6" }
    ])
    assert.deepStrictEqual(world.received, [
      { peer: "203.0.113.50:1000", text: "from 4", handle },
      { peer: "[2001:db8:5::5]:1000", text: "from 6", handle: handle6 }
    ])
  })

  it("may carry data right behind its request", () => {
    const { open, server, world } = allocated()
    const handle = open()
    assert.isFalse(world.relays.channels.get(handle)!.bound)
    world.sendData(handle, "early")
    world.run(100)
    assert.deepStrictEqual(
      server.delivered.map(({ text }) => text),
      ["early"]
    )
    assert.isTrue(world.relays.channels.get(handle)!.bound)
  })

  it("is one per peer, however often it is asked for", () => {
    const { open, server, world } = allocated()
    const handle = open()
    assert.strictEqual(open(), handle)
    world.run(100)
    assert.strictEqual(open(), handle)
    world.run(100)
    assert.strictEqual(server.count(StunMethod.channelBind), 1)
  })

  it("that is used works for hours without a gap: the permission never ends", () => {
    const { open, server, world } = allocated()
    const handle = open()
    for (let second = 0; second < 2 * 3_600; second++) {
      world.sendData(handle, "ping")
      world.peerSends(server, peer, world.relayed(), "pong")
      world.run(1_000)
    }
    assert.strictEqual(server.delivered.length, 7_200)
    // The first pong comes before the binding.
    assert.strictEqual(world.received.length, 7_199)
    assert.isBelow(server.count(StunMethod.channelBind), 33)
    assert.deepStrictEqual(server.violations, [])
  })

  it("that only receives is used, too", () => {
    const { open, server, world } = allocated()
    const handle = open()
    world.run(100)
    for (let second = 0; second < 1_800; second++) {
      world.peerSends(server, peer, world.relayed(), "pong")
      world.run(1_000)
    }
    assert.strictEqual(world.received.length, 1_800)
    assert.isDefined(world.relays.channels.get(handle))
  })

  it("that is not used expires after 10 minutes; its peer may have the number again at once", () => {
    const { open, server, world } = allocated()
    const first = open()
    world.run(9.9 * minute)
    const { number } = world.relays.channels.get(first)!
    world.run(0.2 * minute)
    assert.isUndefined(world.relays.channels.get(first))
    assert.isFalse(world.sendData(first, "too late"))

    const second = open()
    world.run(100)

    assert.notStrictEqual(second, first)
    assert.strictEqual(world.relays.channels.get(second)!.number, number)
    assert.strictEqual(server.count(StunMethod.channelBind), 2)
    assert.deepStrictEqual(server.violations, [])
  })

  it("is renewed when it is used again in its last minutes", () => {
    const { open, world } = allocated()
    const handle = open()
    world.run(8 * minute)
    world.sendData(handle, "here again")
    world.run(8 * minute)
    assert.isDefined(world.relays.channels.get(handle))
  })

  it("to a peer that the relay refuses is gone, and not asked for again for 5 minutes", () => {
    const { open, server, world } = allocated()
    server.forbidden.add("203.0.113.50:1000")
    const handle = open()
    world.run(100)
    assert.deepStrictEqual(world.news(), ["refused 203.0.113.50:1000"])
    assert.isUndefined(world.relays.channels.get(handle))

    for (let i = 0; i < 28; i++) {
      assert.strictEqual(open(), 0)
      world.run(10_000)
    }
    assert.strictEqual(server.count(StunMethod.channelBind, 403), 1)
    server.forbidden.clear()
    world.run(30_000)
    assert.notStrictEqual(open(), 0)
    world.run(100)
    assert.deepStrictEqual(world.news(), ["bound 203.0.113.50:1000"])
  })

  it("is not opened to what is no peer, in a family that the relay lacks, at an unknown relay", () => {
    const world = new RelayWorld()
    world.set({ a: world.addServer({ relayed6: null }) })
    const open = (to: string) => world.relays.open(relayA, at(to), world.now)
    assert.strictEqual(open("203.0.113.50:1000"), 0)
    world.run(100)
    for (const to of ["0.0.0.0:1", "203.0.113.50:0", "224.0.0.1:1", "[::]:1", "[2001:db8::5]:1"]) {
      assert.strictEqual(open(to), 0, to)
    }
    assert.strictEqual(world.relays.open("x" as typeof relayA, peer, world.now), 0)
  })

  it("takes all 4,096 numbers, not one more, 32 requests at a time, and leaves them to others after 15 minutes", () => {
    const { server, world } = allocated({ latency: 20 })
    const numbers = new Set<number>()
    for (let i = 0; i < 4_096; i++) {
      const handle = world.relays.open(relayA, at(`203.0.113.50:${i + 1}`), world.now)
      numbers.add(world.relays.channels.get(handle)!.number)
    }
    assert.strictEqual(numbers.size, 4_096)
    assert.deepStrictEqual([Math.min(...numbers), Math.max(...numbers)], [firstChannelNumber, lastChannelNumber])
    assert.strictEqual(world.relays.open(relayA, at("203.0.113.50:5000"), world.now), 0)

    world.run(20)
    assert.isAtMost(server.count(StunMethod.channelBind), 32)
    world.run(10_000)
    assert.strictEqual(server.count(StunMethod.channelBind), 4_096)
    assert.strictEqual(world.relays.channels.size, 4_096)

    world.run(14 * minute)
    assert.strictEqual(world.relays.channels.size, 0)
    assert.strictEqual(world.relays.open(relayA, at("203.0.113.51:1"), world.now), 0)
    world.run(1.2 * minute)
    assert.notStrictEqual(world.relays.open(relayA, at("203.0.113.51:1"), world.now), 0)
    world.run(100)
    assert.deepStrictEqual(server.violations, [])
  })

  it.prop(
    "never puts a number or a peer together with another too early, whatever is opened, used and left",
    [Arbitrary.array(Arbitrary.all([integer(0, 3), integer(1, 12), integer(0, 11)]), { maxLength: 60 }), integer(0, 3)],
    ([steps, loss]) => {
      const { server, world } = allocated()
      let count = 0
      world.drops = () => count++ % 7 < loss
      const handles = new Map<string, number>()
      for (const [kind, wait, which] of steps) {
        const to = at(`203.0.113.50:${which + 1}`)
        const name = formatTransport(to)
        if (kind <= 1) handles.set(name, world.relays.open(relayA, to, world.now))
        else if (kind === 2) world.sendData(handles.get(name) ?? 0, name)
        else world.run(wait * minute * 1.3)
        world.run(50)
        for (const [peerName, handle] of handles) {
          const channel = world.relays.channels.get(handle)
          if (channel !== undefined) assert.strictEqual(formatTransport(channel.peer), peerName)
        }
      }
      assert.deepStrictEqual(server.violations, [])
      for (const { peer, text } of server.delivered) assert.strictEqual(text, formatTransport(peer))
    },
    { arbitrary: { runs: 150 } }
  )
})
