/** What strangers, relays and clients may send to a gateway that does ICE: nothing throws, nobody else is harmed. */
import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import type { Command } from "../../src/dataplane/commands.ts"
import { shortTermKey } from "../../src/ice/stunIntegrity.ts"
import { StunAttribute, StunMethod } from "../../src/ice/stunProtocol.ts"
import { StunWriter } from "../../src/ice/StunWriter.ts"
import { makeEndpoint } from "../../src/packet/endpoint.ts"
import { syn } from "../support/engineSteps.ts"
import { clientId, packetsAt, policy, upsertClient } from "../support/engineWorld.ts"
import { clientAddress, credentials, gatewayAddress, type Host, IcePair, isAt, lab } from "../support/iceWorld.ts"
import { addressWords, buildTcp } from "../support/packets.ts"

const there = buildTcp({
  source: "100.64.1.1",
  destination: "10.20.0.10",
  sourcePort: 50_000,
  destinationPort: 443,
  flags: syn
})
const back = buildTcp({ source: "10.20.0.10", destination: "100.64.1.1", sourcePort: 443, destinationPort: 50_000 })
const relayAddress = "203.0.113.1"
const stranger = "198.51.100.200"

/** Connected through a relay, or directly while one is known. */
const connected = (blocked = true) => {
  const pair = new IcePair()
  if (blocked) pair.world.drops = ({ from, to }) => from.port === 52_625 && to.port === 52_625
  const { relay, server } = pair.addRelay("a", relayAddress, "198.51.100.9")
  pair.relays(relay)
  pair.introduce()
  pair.world.run(1_000)
  return { pair, server }
}

const passes = ({ client, gateway, world }: IcePair): boolean => {
  const before = [gateway.received.length, client.received.length]
  client.route(there)
  world.settle()
  gateway.route(back)
  world.settle()
  return gateway.received.length === before[0]! + 1 && client.received.length === before[1]! + 1
}

/** A datagram at the host's socket; what the host sends because of it. */
const inject = (pair: IcePair, host: Host, from: string, port: number, ...datagrams: ReadonlyArray<Uint8Array>) => {
  const before = pair.world.wire.length
  const source = makeEndpoint()
  Object.assign(source.remote, addressWords(from))
  Object.assign(source.local, addressWords(gatewayAddress))
  source.port = port
  for (const datagram of datagrams) host.io.arrive(source, datagram)
  pair.world.settle()
  return pair.world.wire.slice(before)
}

const check = (username: string, password: string) =>
  new StunWriter("request", StunMethod.binding, new Uint8Array(12).fill(3))
    .text(StunAttribute.username, username)
    .number(StunAttribute.priority, 1_845_501_695)
    .value(StunAttribute.iceControlling, new Uint8Array(8).fill(1))
    .flag(StunAttribute.useCandidate)
    .finish(shortTermKey(password))

const right = `${credentials.gateway.username}:${credentials.client.username}`

describe("a check", () => {
  it("with the right name and password is answered, from anywhere", () => {
    const { pair } = connected(false)
    const sent = inject(pair, pair.gateway, stranger, 40_000, check(right, credentials.gateway.password))
    assert.isNotEmpty(sent.filter(isAt(stranger)))
  })

  it("with another password, another name or none is not answered, and moves nobody", () => {
    const { pair } = connected(false)
    const before = pair.gateway.count("stun.unhandled")
    const sent = inject(
      pair,
      pair.gateway,
      stranger,
      40_000,
      check(right, "not the password"),
      check(`other:${credentials.client.username}`, credentials.gateway.password),
      check("", credentials.gateway.password),
      new StunWriter("request", StunMethod.binding, new Uint8Array(12)).finish(),
      new StunWriter("success", StunMethod.binding, new Uint8Array(12)).finish(
        shortTermKey(credentials.client.password)
      ),
      new StunWriter("indication", StunMethod.binding, new Uint8Array(12)).finish()
    )
    assert.deepStrictEqual(sent.filter(isAt(stranger)), [])
    assert.strictEqual(pair.gateway.count("stun.unhandled"), before + 6)
    assert.isTrue(passes(pair))
    assert.strictEqual(pair.gateway.state?.endpoint?.address, clientAddress)
  })

  it("of a client that was recorded and is repeated from elsewhere does not take its packets away", () => {
    const { pair } = connected(false)
    const recorded = pair.world.wire.filter(
      ({ bytes, to }) => isAt(gatewayAddress)({ from: to, to, bytes }) && bytes[0] === 0 && bytes[1] === 1
    )
    assert.isNotEmpty(recorded)
    inject(pair, pair.gateway, stranger, 40_000, ...recorded.map(({ bytes }) => bytes))
    pair.world.run(5_000)
    assert.isTrue(passes(pair))
    assert.strictEqual(pair.gateway.state?.endpoint?.address, clientAddress)
  })

  it("is nothing to a gateway without ICE", () => {
    const pair = new IcePair()
    pair.gateway.send({ ...policy, packets: packetsAt.standalone }, { ...pair.upsertAtGateway(), ice: null })
    const sent = inject(pair, pair.gateway, stranger, 40_000, check(right, credentials.gateway.password))
    assert.deepStrictEqual(sent, [])
    assert.strictEqual(pair.gateway.count("wireguard.malformed"), 1)
    assert.strictEqual(pair.gateway.count("stun.unhandled"), 0)
  })
})

describe("a recorded WireGuard datagram", () => {
  it("repeated through the relay or from elsewhere changes nothing", () => {
    const { pair } = connected()
    assert.isTrue(passes(pair))
    const data = pair.world.wire.filter(
      ({ bytes, to }) => isAt(gatewayAddress)({ from: to, to, bytes }) && bytes[0]! >= 0x40
    )
    assert.isAbove(data.length, 2)
    const answered = pair.gateway.count("wireguard.handshake_answered")
    inject(pair, pair.gateway, relayAddress, 3_478, ...data.map(({ bytes }) => bytes))
    inject(pair, pair.gateway, stranger, 40_000, ...data.map(({ bytes }) => bytes.slice(4)))
    assert.strictEqual(pair.gateway.count("wireguard.handshake_answered"), answered)
    assert.isAbove(pair.gateway.count("wireguard.replayed"), 1)
    assert.strictEqual(pair.gateway.state?.endpoint?.address, "198.51.100.9")
    assert.isTrue(passes(pair))
  })

  it("of no session calls nobody whose path ICE finds: the client's side starts", () => {
    const { pair } = connected(false)
    pair.world.run(6_000)
    const { address, port } = pair.gateway.state!.endpoint!
    inject(
      pair,
      pair.gateway,
      address,
      port,
      Uint8Array.from({ length: 512 }, (_, i) => (i === 0 ? 4 : i < 4 ? 0 : 9))
    )
    assert.strictEqual(pair.gateway.count("wireguard.unknown_receiver"), 1)
    assert.strictEqual(pair.gateway.count("calls.in_answer"), 0)
  })

  it("that begins a handshake through a relay counts against the peer behind it, not against the relay", () => {
    const { pair } = connected()
    const isInitiation = ({ length }: Uint8Array): boolean => length === 148 + 4
    const initiation = pair.world.wire.find(
      ({ bytes, to }) => isInitiation(bytes) && isAt(gatewayAddress)({ from: to, to, bytes })
    )!
    // Far more than a source may send at once.
    inject(pair, pair.gateway, relayAddress, 3_478, ...Array.from({ length: 60 }, () => initiation.bytes))
    assert.isAbove(pair.gateway.count("wireguard.cookie_sent") + pair.gateway.count("wireguard.rate_limited"), 0)
    // Somebody at the relay's own address is another source.
    const limited = pair.gateway.count("wireguard.cookie_sent")
    const plain = makeEndpoint()
    Object.assign(plain.remote, addressWords(relayAddress))
    plain.port = 9_999
    pair.gateway.io.arrive(plain, initiation.bytes.slice(4))
    pair.world.settle()
    assert.strictEqual(pair.gateway.count("wireguard.cookie_sent"), limited)
  })
})

describe("candidates of a client", () => {
  const candidate = (port: number, extra = "") => `candidate:1 1 udp 2130706431 192.0.2.2 ${port} typ host${extra}`

  it("that come before its connection, in another form, or for other credentials are dropped", () => {
    const pair = new IcePair()
    const add = (text: string) => pair.gateway.send({ _tag: "AddCandidate", client: clientId(1), candidate: text })
    add(candidate(1_000))
    assert.strictEqual(pair.gateway.count("ice.early_candidate"), 1)
    pair.gateway.send(pair.upsertAtGateway())
    add("candidate:nonsense")
    add(candidate(1_000, " ufrag else"))
    assert.strictEqual(pair.gateway.count("ice.bad_candidate"), 2)
    add(candidate(1_000, ` ufrag ${credentials.client.username}`))
    assert.strictEqual(pair.gateway.count("ice.bad_candidate"), 2)
  })

  it("are 64 at most, of which removed ones make room", () => {
    const pair = new IcePair()
    pair.gateway.send(pair.upsertAtGateway())
    const send = (_tag: "AddCandidate" | "RemoveCandidate", port: number) =>
      pair.gateway.send({ _tag, client: clientId(1), candidate: candidate(port) })
    for (let i = 0; i < 70; i++) send("AddCandidate", 1_000 + i)
    assert.strictEqual(pair.gateway.count("ice.bad_candidate"), 6)
    send("RemoveCandidate", 1_000)
    send("AddCandidate", 2_000)
    assert.strictEqual(pair.gateway.count("ice.bad_candidate"), 6)
  })

  it("are taken back by kind and address: what is told then has another priority, and may come again", () => {
    const pair = new IcePair()
    pair.gateway.send(pair.upsertAtGateway())
    pair.hosts(pair.gateway, gatewayAddress)
    const relayed = (priority: number, port: number) =>
      `candidate:1 1 udp ${priority} 203.0.113.7 ${port} typ relay raddr 0.0.0.0 rport 0`
    const send = (_tag: "AddCandidate" | "RemoveCandidate", candidate: string) =>
      pair.gateway.send({ _tag, client: clientId(1), candidate })
    for (let i = 0; i < 70; i++) {
      send("AddCandidate", relayed(37_748_991, 50_000 + i))
      send("RemoveCandidate", relayed(33_554_687, 50_000 + i))
    }
    assert.strictEqual(pair.gateway.count("ice.bad_candidate"), 0)

    const before = pair.world.wire.length
    send("AddCandidate", relayed(37_748_991, 50_000))
    pair.world.run(100)

    assert.isAbove(pair.world.wire.slice(before).filter(({ to }) => to.port === 50_000).length, 0)
  })

  it("at our loopback, at link-local and metadata addresses and in the tunnel are dropped", () => {
    const pair = new IcePair()
    pair.gateway.send(pair.upsertAtGateway(), lab)
    pair.hosts(pair.gateway, gatewayAddress, "2001:db8::1")
    const inside = ["127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "fe80::1", "100.64.1.2", "100.96.0.1"]
    for (const address of inside) {
      const text = `candidate:1 1 udp 2130706431 ${address} 80 typ host`
      pair.gateway.send({ _tag: "AddCandidate", client: clientId(1), candidate: text })
    }
    pair.world.run(5_000)
    assert.strictEqual(pair.gateway.count("ice.bad_candidate"), inside.length)
    assert.deepStrictEqual(pair.world.wire, [])
  })

  it("cannot use up a relay's channels, by one connection after the other", () => {
    const { pair, server } = connected()
    const other = (n: number) => ({ username: `u${n}`, password: credentials.gateway.password })
    for (let n = 0; n < 20; n++) {
      pair.gateway.send(
        pair.upsertAtGateway({ ice: { local: other(n), remote: credentials.client, role: "controlled" } })
      )
      for (let i = 0; i < 32; i++) {
        const text = `candidate:1 1 udp 1694498815 203.0.113.99 ${1_000 + n * 32 + i} typ srflx`
        pair.gateway.send({ _tag: "AddCandidate", client: clientId(1), candidate: text })
      }
      pair.world.run(2_000)
    }
    const taken = server.liveAllocations(pair.world.now).map(({ channels }) => channels.size)
    assert.isBelow(Math.max(...taken), 80)
    assert.isAbove(Math.max(...taken), 32)
  })

  it("that are nobody's get checks for a while, and no more packets than that", () => {
    const pair = new IcePair()
    pair.gateway.send(pair.upsertAtGateway(), lab)
    pair.hosts(pair.gateway, gatewayAddress)
    for (let i = 0; i < 64; i++) {
      pair.gateway.send({ _tag: "AddCandidate", client: clientId(1), candidate: candidate(1_000 + i) })
    }
    pair.world.run(60_000)
    assert.isBelow(pair.world.wire.length, 64 * 20)
  })
})

describe("any bytes", () => {
  const Bytes = Schema.Struct({
    template: Schema.Literals([0, 1, 2, 3, 4, 5]),
    edits: Schema.Array(Schema.Struct({ at: Schema.Int, value: Schema.Int })),
    cut: Schema.Literals([0, 0, 1, 4, 19, 33]),
    relay: Schema.Boolean
  })

  it.prop(
    "from a relay or from elsewhere pass by the connections that there are",
    [Schema.Array(Bytes)],
    ([all]) => {
      const { pair } = connected()
      assert.isTrue(passes(pair))
      const seen = pair.world.wire.filter(({ bytes, to }) => isAt(gatewayAddress)({ from: to, to, bytes }))
      const templates = [
        check(right, credentials.gateway.password),
        seen.find(({ bytes }) => bytes[0]! >= 0x40)!.bytes,
        seen.findLast(({ bytes }) => bytes[0]! >= 0x40)!.bytes,
        seen.find(({ bytes }) => bytes[0] === 1)!.bytes,
        new StunWriter("error", StunMethod.allocate, new Uint8Array(12)).error(437, "no").finish(),
        new Uint8Array(60)
      ]
      for (const { cut, edits, relay, template } of all) {
        const bytes = templates[template]!.slice()
        for (const { at, value } of edits) bytes[Math.abs(at) % bytes.length] = value & 255
        const datagram = bytes.subarray(0, Math.max(1, bytes.length - cut))
        inject(pair, pair.gateway, relay ? relayAddress : stranger, relay ? 3_478 : 40_000, datagram)
      }
      pair.world.run(500)
      assert.isTrue(passes(pair))
      assert.strictEqual(pair.gateway.state?.path, "relayed")
    },
    { arbitrary: { runs: 100 } }
  )
})

describe("batches", () => {
  it("through a relay are of one size with their headers, and arrive whole", () => {
    const { pair } = connected()
    const sizes: Array<ReadonlyArray<number>> = []
    const send = pair.client.io.send
    Object.assign(pair.client.io, {
      send: (to: Parameters<typeof send>[0], offset: number, length: number, size: number, trafficClass: number) => {
        sizes.push([length, size])
        return send(to, offset, length, size, trafficClass)
      }
    })
    const packets = Array.from({ length: 10 }, (_, i) =>
      buildTcp({
        source: "100.64.1.1",
        destination: "10.20.0.10",
        sourcePort: 50_000,
        destinationPort: 443,
        flags: i === 0 ? syn : 0x10,
        payload: new Uint8Array(1_000).fill(i)
      })
    )
    pair.client.route(...packets)
    pair.world.settle()
    // 1,040 bytes padded to 1,040, with 32 bytes of WireGuard and 4 of the channel.
    assert.deepInclude(sizes, [10 * 1_076, 1_076])
    assert.deepStrictEqual(
      pair.gateway.received.map((packet) => packet.length),
      packets.map((packet) => packet.length)
    )
    assert.strictEqual(pair.client.count("udp.batched"), 10)
  })

  it("that a relay's datagrams arrive in are taken apart", () => {
    const { pair } = connected()
    const before = pair.world.wire.length
    const io = pair.gateway.io
    const held: Array<Uint8Array> = []
    const arrive = io.arrive
    Object.assign(io, { arrive: (_: unknown, bytes: Uint8Array) => void held.push(bytes) })
    for (let i = 0; i < 5; i++) pair.client.route(there)
    pair.world.settle()
    Object.assign(io, { arrive })
    assert.isAbove(pair.world.wire.length, before)
    assert.strictEqual(held.length, 5)
    const source = makeEndpoint()
    Object.assign(source.remote, addressWords(relayAddress))
    source.port = 3_478
    io.arriveTogether(source, held)
    pair.world.settle()
    assert.strictEqual(pair.gateway.received.length, 5)
    assert.strictEqual(pair.gateway.count("udp.gathered"), 5)
  })
})

describe("a client that comes after one that was removed", () => {
  it("has a limit of relay peers of its own, whatever the other one used up", () => {
    const pair = new IcePair()
    // No path but the relay.
    pair.world.drops = ({ from, to }) => from.port === 52_625 && to.port === 52_625
    pair.relays(pair.addRelay("a", "203.0.113.1", "198.51.100.9").relay)
    const greedy = clientId(9)
    const named = (i: number): Command => ({
      _tag: "AddCandidate",
      client: greedy,
      candidate: `candidate:1 1 udp 1694498815 203.0.113.99 ${1_000 + i} typ srflx raddr 0.0.0.0 rport 0`
    })
    for (let round = 0; round < 4; round++) {
      const local = { ...credentials.gateway, username: `u${round}` }
      const ice = { local, remote: credentials.client, role: "controlled" } as const
      const identity = { ...upsertClient(9), client: greedy }
      pair.gateway.send({ ...identity, ice }, ...Array.from({ length: 32 }, (_, i) => named(round * 32 + i)))
      pair.world.run(2_000)
    }
    const refused = pair.gateway.count("relay.no_channel")
    assert.isAbove(refused, 0)

    pair.gateway.send({ _tag: "RemoveClient", client: greedy })
    pair.introduce()
    pair.world.run(5_000)

    assert.isTrue(pair.gateway.state?.connected)
    assert.strictEqual(pair.gateway.count("relay.no_channel"), refused)
  })
})
