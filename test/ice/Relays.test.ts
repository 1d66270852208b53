import { assert, describe, it } from "@effect/vitest"
import { channelHeaderLength } from "../../src/ice/channelTable.ts"
import { Relays } from "../../src/ice/Relays.ts"
import { StunMethod } from "../../src/ice/stunProtocol.ts"
import { RelayId } from "../../src/model/Relay.ts"
import { copyWords, isIpv4 } from "../../src/packet/address.ts"
import { makeEndpoint } from "../../src/packet/endpoint.ts"
import { formatTransport } from "../../src/packet/transportAddress.ts"
import { bytes as arbitraryBytes, integer } from "../support/packetArbitraries.ts"
import { at, randomFrom, relayA, relayB, RelayWorld } from "../support/relayWorld.ts"
import type { Datagram, TurnServer } from "../support/turnServer.ts"

const second = {
  addresses: [at("203.0.113.2:3478"), at("[2001:db8:2::2]:3478")],
  relayed4: "198.51.100.8",
  relayed6: "2001:db8:8::8"
}
const peer = at("203.0.113.50:1000")

const twoRelays = () => {
  const world = new RelayWorld()
  const [a, b] = [world.addServer(), world.addServer(second)]
  world.set({ a, b })
  world.run(200)
  world.news()
  return { world, a, b }
}

describe("the relays", () => {
  it("are all allocated at, and one of them is picked by a random number", () => {
    const { world } = twoRelays()
    assert.deepStrictEqual(world.relays.allocated, [relayA, relayB])
    assert.deepStrictEqual(
      [0, 0.49, 0.5, 0.999].map((random) => world.relays.pick(random)),
      [relayA, relayA, relayB, relayB]
    )
  })

  it("of which one is lost leave the others to pick from, and tell how many are left", () => {
    const { a, world } = twoRelays()
    a.silent = true
    world.run(34_000)
    assert.include(world.news(), "relay a lost: Unreachable, 1 left")
    assert.deepStrictEqual(
      [0, 0.999].map((random) => world.relays.pick(random)),
      [relayB, relayB]
    )
    assert.deepStrictEqual(world.relays.candidates(relayA), [])
  })

  /** Data goes out each 100 ms through a channel at the first relay, and comes back while anything does. */
  const transfers = (world: RelayWorld, a: TurnServer, milliseconds: number) => {
    for (let i = 0; i < milliseconds; i += 100) {
      const handle = world.relays.open(relayA, peer, world.now)
      if (world.sendData(handle, "x") && !world.drops({ from: peer, to: peer, bytes: new Uint8Array() })) {
        world.peerSends(a, peer, world.relayed(), "y")
      }
      world.run(100)
    }
  }

  it("of which one falls silent in mid-transfer are tried at once, and that one is left after 3 to 7 s", () => {
    const { a, b, world } = twoRelays()
    transfers(world, a, 3_300)
    world.news()
    a.silent = true
    const asked = b.count(StunMethod.refresh)
    transfers(world, a, 3_000)
    assert.deepStrictEqual(world.news(), [])
    transfers(world, a, 4_000)
    assert.include(world.news(), "relay a lost: Unreachable, 1 left")
    assert.strictEqual(b.count(StunMethod.refresh), asked + 1)
    assert.deepStrictEqual(world.relays.allocated, [relayB])
  })

  it("that all fall silent for 7 s keep their allocations: it is our own link", () => {
    const { a, world } = twoRelays()
    transfers(world, a, 3_300)
    world.news()
    world.drops = () => true
    transfers(world, a, 7_000)
    world.drops = () => false
    transfers(world, a, 10_000)
    assert.deepStrictEqual(world.news(), [])
    assert.deepStrictEqual(world.relays.allocated, [relayA, relayB])
  })

  it("of which there is only one are given 8 s to answer", () => {
    const world = new RelayWorld()
    const a = world.addServer()
    world.set({ a })
    world.run(200)
    transfers(world, a, 3_300)
    world.news()
    a.silent = true
    transfers(world, a, 8_000)
    assert.deepStrictEqual(world.news(), [])
    transfers(world, a, 4_100)
    assert.include(world.news(), "relay a lost: Unreachable, 0 left")
  })

  it("give nothing to pick while none has an allocation", () => {
    const world = new RelayWorld()
    assert.isUndefined(world.relays.pick(0.5))
    world.set({ a: world.addServer() })
    assert.isUndefined(world.relays.pick(0.5))
    assert.strictEqual(new RelayWorld().relays.nextDeadline(), Infinity)
  })

  it("set again unchanged stay untouched", () => {
    const { a, b, world } = twoRelays()
    const sent = world.sent
    world.set({ a, b })
    world.run(1_000)
    assert.strictEqual(world.sent, sent)
    assert.deepStrictEqual(world.news(), [])
  })

  it("are replaced when one has other addresses from now on", () => {
    const { a, b, world } = twoRelays()
    const moved = world.addServer({ addresses: [at("203.0.113.3:3478")], relayed4: "198.51.100.7", relayed6: null })
    world.set({ a: moved, b })
    world.run(200)
    const news = world.news()
    assert.includeMembers(news as Array<string>, [
      "lost a relay 198.51.100.9:50000",
      "relay a lost: Removed, 1 left",
      "found a relay 198.51.100.7:50000"
    ])
    assert.deepStrictEqual(a.liveAllocations(world.now), [])
    assert.isFalse(news.some((line) => line.includes(" b ")))
  })

  it("may come under another id at the same address: the old allocation is given back first", () => {
    const world = new RelayWorld()
    const server = world.addServer()
    world.set({ a: server })
    world.run(200)
    world.set({ b: server }, "ann", "secret")
    world.run(200)
    assert.deepStrictEqual(world.relays.allocated, [relayB])
    assert.strictEqual(server.count(StunMethod.allocate, 437), 0)
  })

  it("keep an address to the first that has it", () => {
    const world = new RelayWorld()
    const server = world.addServer()
    world.set({ a: server, b: server })
    world.run(200)
    assert.deepStrictEqual(world.relays.allocated, [relayA])
    assert.strictEqual(server.liveAllocations(world.now).length, 1)
  })

  it("are eight at most", () => {
    const world = new RelayWorld()
    const servers = Array.from({ length: 10 }, (_, i) =>
      world.addServer({ addresses: [at(`203.0.113.${i + 1}:3478`)], relayed4: `198.51.100.${i + 1}` })
    )
    world.set(Object.fromEntries(servers.map((server, i) => [`r${i}`, server])))
    world.run(200)
    assert.strictEqual(world.relays.allocated.length, 8)
  })

  it("are used in the families that we have sockets of", () => {
    const world = new RelayWorld({ ipv4: false })
    let overIpv4 = 0
    world.drops = ({ to }) => {
      if (isIpv4(to.address)) overIpv4++
      return false
    }
    const only4 = world.addServer({ addresses: [at("203.0.113.2:3478")] })
    world.set({ a: world.addServer(), b: only4 })
    world.run(200)
    assert.strictEqual(overIpv4, 0)
    assert.deepStrictEqual(world.relays.allocated, [relayA])
  })

  it("ignore addresses that are none", () => {
    const world = new RelayWorld()
    const relay = (address: string, port: number) => ({
      id: RelayId.make(address),
      addresses: [{ address, port }],
      username: "",
      password: ""
    })
    world.relays.set([relay("x", 1), relay("203.0.113.1", 0), relay("203.0.113.1", 70_000), relay("", 1)], 0)
    assert.strictEqual(world.relays.nextDeadline(), Infinity)
  })
})

describe("channel data", () => {
  const received = () => {
    const { a, world } = twoRelays()
    const handle = world.relays.open(relayA, peer, world.now)
    world.run(100)
    const channel = world.relays.channels.get(handle)!
    const from = makeEndpoint()
    copyWords(channel.server.remote, from.remote)
    from.port = channel.server.port
    const datagram = (number: number, length: number, payload: number) => {
      const bytes = new Uint8Array(channelHeaderLength + payload)
      bytes.set([number >> 8, number & 255, length >> 8, length & 255])
      return bytes
    }
    const take = (bytes: Uint8Array, length = bytes.length) => world.relays.receiveData(bytes, 0, length, from)
    return { a, world, channel, from, datagram, take }
  }

  it("is found by its number, empty and padded ones too", () => {
    const { channel, datagram, take } = received()
    assert.strictEqual(take(datagram(channel.number, 3, 3)), channel)
    assert.strictEqual(take(datagram(channel.number, 3, 4)), channel)
    assert.strictEqual(take(datagram(channel.number, 0, 0)), channel)
  })

  it("of an unknown number, cut short, or without a whole header is nobody's", () => {
    const { channel, datagram, take } = received()
    assert.isUndefined(take(datagram(channel.number + 1, 3, 3)))
    assert.isUndefined(take(datagram(channel.number, 4, 3)))
    assert.isUndefined(take(datagram(channel.number, 0, 0), 3))
    assert.isUndefined(take(datagram(0x5000, 3, 3)))
    assert.isUndefined(take(datagram(0x0001, 3, 3)))
  })

  it("is the relay's only from the address that the allocation is at", () => {
    const { channel, datagram, from, take } = received()
    const bytes = datagram(channel.number, 3, 3)
    from.port++
    assert.isUndefined(take(bytes))
    copyWords(at("[2001:db8:1::1]:1").address, from.remote)
    from.port = 3478
    assert.isUndefined(take(bytes))
    copyWords(second.addresses[0]!.address, from.remote)
    assert.isUndefined(take(bytes))
  })

  it("of a relay that was taken away is nobody's", () => {
    const { channel, datagram, take, world } = received()
    world.set({})
    assert.isUndefined(take(datagram(channel.number, 3, 3)))
    assert.isUndefined(world.relays.channels.get(channel.handle))
    assert.strictEqual(world.relays.channels.size, 0)
  })
})

describe("what arrives from a relay's address", () => {
  it.prop(
    "is safe, whatever bytes it has, and changes nothing",
    [arbitraryBytes(120), integer(0, 2)],
    ([bytes, kind]) => {
      const { world } = twoRelays()
      world.relays.open(relayA, peer, world.now)
      world.run(100)
      world.news()
      const before = JSON.stringify([world.relays.candidates(relayA), world.relays.channels.size])
      const datagram = bytes.slice()
      // Random bytes alone seldom are anything: give them a head of channel data or of STUN.
      if (kind === 1 && datagram.length >= 4) datagram.set([0x40, datagram[1]! & 3])
      if (kind === 2 && datagram.length >= 20) {
        datagram.set([0x01, datagram[1]! & 0x1f, 0, datagram.length - 20, 0x21, 0x12, 0xa4, 0x42])
      }

      world.inject(at("203.0.113.1:3478"), datagram)

      assert.deepStrictEqual(world.news(), [])
      assert.strictEqual(JSON.stringify([world.relays.candidates(relayA), world.relays.channels.size]), before)
    },
    { arbitrary: { runs: 300 } }
  )

  it.prop(
    "with one byte changed somewhere never does worse than a lost datagram",
    [integer(1, 1_000_000)],
    ([seed]) => {
      const world = new RelayWorld()
      const random = randomFrom(seed)
      let originals: Array<Datagram> = []
      world.drops = (datagram) => {
        if (datagram.from.port !== 3478) return false
        originals.push(datagram)
        return false
      }
      const server = world.addServer({ relayed6: null })
      world.set({ a: server })
      for (let i = 0; i < 12; i++) {
        world.run(random() * 60)
        const original = originals[Math.floor(random() * originals.length)]
        if (original === undefined) continue
        const bytes = original.bytes.slice()
        bytes[Math.floor(random() * bytes.length)]! ^= 1 << Math.floor(random() * 8)
        world.inject(original.from, bytes)
        originals = originals.slice(-4)
      }
      world.run(120_000)
      assert.deepStrictEqual(world.relays.allocated, [relayA])
      assert.isTrue(world.relays.candidates(relayA).some(({ address }) => address.port >= 50_000))
    },
    { arbitrary: { runs: 200 } }
  )

  it("is not taken for an answer when it comes from another address, or without our transaction", () => {
    const { world } = twoRelays()
    const answers: Array<Datagram> = []
    world.drops = (datagram) => {
      if (datagram.from.port === 3478) answers.push(datagram)
      return datagram.from.port === 3478
    }
    world.run(26_000)
    const answer = answers.find(({ from }) => formatTransport(from) === "203.0.113.1:3478")
    world.drops = () => false
    const receive = (from: string, bytes: Uint8Array) =>
      world.relays.receive(bytes, 0, bytes.length, at(from), at("192.0.2.10:52625"), world.now)

    const other = answer!.bytes.slice()
    other[19]! ^= 1
    assert.isFalse(receive("203.0.113.2:3478", answer!.bytes))
    assert.isFalse(receive("203.0.113.99:3478", answer!.bytes))
    assert.isFalse(receive("[2001:db8:1::1]:3478", answer!.bytes), "the relay's other address")
    assert.isFalse(receive("203.0.113.1:3478", other))
    assert.isTrue(receive("203.0.113.1:3478", answer!.bytes))
    assert.isFalse(receive("203.0.113.1:3478", answer!.bytes), "a second time")
  })

  it("may be asked about while nothing is set", () => {
    const relays = new Relays({
      families: { ipv4: true, ipv6: true },
      randomBytes: () => {},
      transmit: () => assert.fail("nothing to send"),
      events: {
        found: () => {},
        lost: () => {},
        relayLost: () => {},
        channelBound: () => {},
        channelRefused: () => {}
      }
    })
    assert.isFalse(relays.isServer(makeEndpoint()))
    assert.isUndefined(relays.receiveData(new Uint8Array([0x40, 0, 0, 0]), 0, 4, makeEndpoint()))
    relays.advance(1e9)
    relays.close()
  })
})
