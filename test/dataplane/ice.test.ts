/** Clients whose path ICE finds: two engines, a portal between them, relays beside them. */
import { assert, describe, it } from "@effect/vitest"
import type { Notice } from "../../src/dataplane/notices.ts"
import { clientId } from "../support/engineWorld.ts"
import {
  clientAddress,
  credentials,
  back,
  gatewayAddress,
  healsIn,
  type Host,
  IcePair,
  isAt,
  lab,
  passes,
  there,
  World
} from "../support/iceWorld.ts"
import { addressWords } from "../support/packets.ts"

/** Both hosts told their own addresses and each other. */
const direct = (): IcePair => {
  const pair = new IcePair()
  pair.introduce()
  pair.hosts(pair.gateway, gatewayAddress)
  pair.hosts(pair.client, clientAddress)
  pair.world.run(1_000)
  return pair
}

/** Only relays connect them. */
const relayed = (relays = 1) => {
  const pair = new IcePair()
  pair.world.drops = ({ from, to }) => from.port === 52_625 && to.port === 52_625
  const all = Array.from({ length: relays }, (_, i) =>
    pair.addRelay(`r${i}`, `203.0.113.${i + 1}`, `198.51.100.${i + 1}`)
  )
  pair.relays(...all.map(({ relay }) => relay))
  pair.introduce()
  pair.world.run(1_000)
  return { pair, servers: all.map(({ server }) => server), relays: all.map(({ relay }) => relay) }
}

const handshakes = (host: Host): number => host.count("wireguard.handshake_answered")

const kinds = (notices: ReadonlyArray<Notice>): ReadonlyArray<string> =>
  notices.flatMap((notice) =>
    notice._tag === "CandidateFound" || notice._tag === "CandidateLost"
      ? [`${notice._tag} ${/typ (\w+)/.exec(notice.candidate)![1]}`]
      : []
  )

describe("a path that ICE finds", () => {
  it("is direct where the hosts reach each other", () => {
    const pair = direct()
    pair.client.route(there())
    pair.world.settle()
    assert.deepStrictEqual(
      pair.gateway.received.map((p) => [...p]),
      [[...there()]]
    )
    pair.gateway.route(back)
    pair.world.settle()
    assert.deepStrictEqual(
      pair.client.received.map((p) => [...p]),
      [[...back]]
    )
    assert.deepInclude(pair.gateway.state, {
      client: clientId(1),
      connected: true,
      path: "direct",
      endpoint: { address: clientAddress, port: 52_625 }
    })
    assert.strictEqual(pair.client.state?.path, "direct")
  })

  it("takes IPv6 where that is all there is, and leaves from the address that was addressed", () => {
    const pair = new IcePair()
    pair.introduce()
    pair.hosts(pair.gateway, "2001:db8::1")
    pair.hosts(pair.client, "2001:db8::2")
    pair.world.run(1_000)
    assert.isTrue(passes(pair))
    assert.strictEqual(pair.gateway.state?.endpoint?.address, "2001:db8::2")
  })

  it("leads through a relay where nothing else does", () => {
    const { pair, servers } = relayed()
    assert.isTrue(passes(pair))
    assert.deepStrictEqual([pair.gateway.state?.path, pair.client.state?.path], ["relayed", "relayed"])
    assert.deepStrictEqual(servers[0]!.violations, [])
    assert.isAbove(pair.gateway.count("relay.received"), 0)
    // The peer behind the relay is whom the client is seen as.
    assert.strictEqual(pair.gateway.state?.endpoint?.address, "198.51.100.1")
  })

  it("moves from the relay to the direct one when that opens", () => {
    const { pair } = relayed()
    assert.strictEqual(pair.gateway.state?.path, "relayed")
    pair.world.drops = () => false
    pair.hosts(pair.client, clientAddress, "2001:db8::2")
    pair.hosts(pair.gateway, gatewayAddress, "2001:db8::1")
    pair.world.run(3_000)
    assert.isTrue(passes(pair))
    pair.world.run(2_000)
    assert.deepStrictEqual([pair.gateway.state?.path, pair.client.state?.path], ["direct", "direct"])
    assert.strictEqual(handshakes(pair.gateway), 1)
  })

  it("is found with candidates that the relay's answers taught, and each is told once", () => {
    const { pair } = relayed()
    assert.deepStrictEqual(kinds(pair.gateway.notices), ["CandidateFound host", "CandidateFound relay"])
  })

  it("crosses a NAT whose address only the relay sees", () => {
    const world = new World()
    const pair = new IcePair(world)
    const { relay } = pair.addRelay("a", "203.0.113.1", "198.51.100.9")
    const outside = "198.51.100.77"
    const isClient = isAt(clientAddress)
    world.outside = (from, to) =>
      isClient({ from, to, bytes: there() }) ? { ...from, address: addressWords(outside) } : from
    world.inside = (to) =>
      isAt(outside)({ from: to, to, bytes: there() }) ? { ...to, address: addressWords(clientAddress) } : to
    // Nothing reaches the client's own address from outside.
    world.drops = ({ to }) => isClient({ from: to, to, bytes: there() })
    pair.relays(relay)
    pair.introduce()
    world.run(1_000)
    assert.includeMembers([...kinds(pair.client.notices)], ["CandidateFound srflx"])
    assert.isTrue(passes(pair))
    assert.deepInclude(pair.gateway.state, { path: "direct", endpoint: { address: outside, port: 52_625 } })
  })
})

describe("a gateway", () => {
  it("starts no handshake and sends nothing before the client's came, and then sends what waited", () => {
    const pair = direct()
    const quiet = new IcePair()
    quiet.gateway.send(quiet.upsertAtGateway(), lab)
    quiet.hosts(quiet.gateway, gatewayAddress)
    quiet.gateway.route(back)
    quiet.world.run(2_000)
    assert.deepStrictEqual(quiet.world.wire, [])
    assert.isTrue(passes(pair))
  })

  it("tells its IPv6 addresses once it has a socket of it", () => {
    const pair = new IcePair()
    pair.gateway.start(false)
    pair.introduce()
    pair.hosts(pair.gateway, gatewayAddress, "2001:db8::1")
    const told = () => {
      pair.world.run(1_000)
      return pair.gateway.told("CandidateFound").map(({ candidate }) => candidate.split(" ")[4])
    }
    assert.deepStrictEqual(told(), [gatewayAddress])
    pair.gateway.engine.gainIpv6()
    assert.deepStrictEqual(told(), ["2001:db8::1"])
  })

  it("keeps the connection when it is told the same again, even with another preshared key, and tells its candidates again", () => {
    const pair = direct()
    pair.gateway.told("CandidateFound")
    pair.gateway.send(pair.upsertAtGateway({ presharedKey: Buffer.alloc(32, 9).toString("base64") }))
    assert.isTrue(passes(pair))
    assert.strictEqual(handshakes(pair.gateway), 1)
    pair.world.settle()
    assert.deepStrictEqual(
      pair.gateway.told("CandidateFound").map(({ candidate }) => candidate.split(" ")[4]),
      [gatewayAddress]
    )
    assert.deepStrictEqual(pair.gateway.told("ConnectionLost"), [])
  })

  it("is reached by a client that began anew with the same credentials, and got another preshared key for that", () => {
    const pair = direct()
    assert.isTrue(passes(pair))
    const beginAnew = (n: number) => {
      const presharedKey = Buffer.alloc(32, n).toString("base64")
      pair.client.send({ _tag: "RemoveClient", client: clientId(1) })
      pair.gateway.send(pair.upsertAtGateway({ presharedKey }))
      pair.client.send(pair.upsertAtClient({ presharedKey }), lab)
      pair.world.run(6_000)
    }
    beginAnew(9)
    // A client that was answered with the first key asks the portal once more.
    if (pair.client.told("ConnectionLost").length > 0) beginAnew(10)
    assert.isTrue(passes(pair))
    beginAnew(11)
    if (pair.client.told("ConnectionLost").length > 0) beginAnew(12)
    assert.isTrue(passes(pair))
    const proven = handshakes(pair.gateway)
    pair.gateway.send(pair.upsertAtGateway({ presharedKey: Buffer.alloc(32, 13).toString("base64") }))
    assert.isTrue(passes(pair))
    assert.strictEqual(handshakes(pair.gateway), proven)
  })

  it("goes on with a client that keeps its first preshared key over every rekey", () => {
    const pair = direct()
    for (let n = 20; n < 24; n++) {
      pair.gateway.send(pair.upsertAtGateway({ presharedKey: Buffer.alloc(32, n).toString("base64") }))
      for (let i = 0; i < 13; i++) {
        pair.world.run(10_000)
        assert.isTrue(passes(pair))
      }
    }
    assert.isAbove(handshakes(pair.gateway), 3)
    assert.deepStrictEqual(pair.client.told("ConnectionLost"), [])
  })

  it("replaces the connection when the credentials are others, and the client's flows go on", () => {
    const pair = direct()
    assert.isTrue(passes(pair))
    const other = { username: "othe", password: "anotherpasswordanother" }
    const gatewayIce = { local: other, remote: credentials.client, role: "controlled" } as const
    const clientIce = { local: credentials.client, remote: other, role: "controlling" } as const
    pair.gateway.send(pair.upsertAtGateway({ ice: gatewayIce }))
    pair.client.send(pair.upsertAtClient({ ice: clientIce }))
    pair.world.run(7_000)
    // The reply to a flow that began before.
    pair.gateway.route(back)
    pair.world.settle()
    assert.strictEqual(pair.client.received.length, 2)
    assert.strictEqual(handshakes(pair.gateway), 2)
  })

  it("keeps the flows of a client that starts again with another key", () => {
    const pair = direct()
    assert.isTrue(passes(pair))
    pair.gateway.send(pair.upsertAtGateway({ publicKey: Buffer.alloc(32, 3).toString("base64") }))
    pair.world.run(200)
    assert.strictEqual(pair.gateway.count("sessions.live"), 1)
    assert.isFalse(pair.gateway.state?.connected)
    pair.gateway.send(pair.upsertAtGateway())
    pair.client.start()
    assert.isBelow(healsIn(pair, 10_000), 10_000)
    assert.strictEqual(pair.gateway.count("sessions.created"), 1)
  })

  it("reports a client that never told of a way to it", () => {
    const pair = new IcePair()
    pair.gateway.send(pair.upsertAtGateway(), lab)
    pair.hosts(pair.gateway, gatewayAddress)
    pair.world.run(9_900)
    assert.deepStrictEqual(pair.gateway.told("ConnectionLost"), [])
    pair.world.run(200)
    assert.deepStrictEqual(
      pair.gateway.told("ConnectionLost").map(({ reason }) => reason),
      ["NoCandidates"]
    )
  })

  it("gives a client up that does not answer its packets, keeps its flows, and takes it back", () => {
    const pair = direct()
    assert.isTrue(passes(pair))
    pair.world.drops = isAt(clientAddress)
    pair.world.run(60_000)
    assert.strictEqual(pair.gateway.told("ConnectionLost")[0]?.reason, "HandshakeFailed")
    pair.world.drops = () => false
    pair.introduce()
    pair.world.run(1_000)
    pair.gateway.route(back)
    pair.world.settle()
    assert.strictEqual(pair.client.received.length, 2)
  })

  it("loses an idle client that is gone, and takes it back by the same credentials", () => {
    const pair = direct()
    pair.world.drops = isAt(clientAddress)
    pair.world.run(20 * 60_000)
    assert.strictEqual(pair.gateway.told("ConnectionLost")[0]?.reason, "IceFailed")
    assert.deepInclude(pair.gateway.state, { connected: false, path: null, endpoint: null })
    assert.deepInclude(pair.gateway.hub.desired.replay(0), { _tag: "DisconnectClient", client: clientId(1) })
    assert.strictEqual(pair.client.told("ConnectionLost")[0]?.reason, "IceFailed")
    pair.world.drops = () => false
    pair.introduce()
    pair.world.run(1_000)
    assert.isTrue(passes(pair))
  })

  it("lets go of a client that says goodbye, at once", () => {
    const pair = direct()
    pair.client.send({ _tag: "SendControl", client: clientId(1), event: 2, payload: new Uint8Array() })
    pair.world.settle()
    assert.strictEqual(pair.gateway.told("Control")[0]?.event, 2)
    assert.strictEqual(pair.gateway.told("ConnectionLost")[0]?.reason, "Goodbye")
    assert.isFalse(pair.gateway.state?.connected)
    const before = pair.gateway.count("stun.handled")
    pair.world.run(3_000)
    assert.strictEqual(pair.gateway.count("stun.handled"), before)
  })

  it("forgets a client that is removed: no check is answered, nothing is told", () => {
    const pair = direct()
    pair.gateway.send({ _tag: "RemoveClient", client: clientId(1) })
    pair.gateway.notices.length = 0
    pair.world.wire.length = 0
    pair.client.route(there())
    pair.world.run(3_000)
    assert.deepStrictEqual(pair.gateway.notices, [])
    assert.deepStrictEqual(
      pair.world.wire.filter(({ from }) => isAt(gatewayAddress)({ from, to: from, bytes: back })),
      []
    )
  })
})

describe("a client", () => {
  it("whose preshared key is another one is told at once that the handshake failed", () => {
    const pair = new IcePair()
    pair.gateway.send(pair.upsertAtGateway(), lab)
    pair.client.send(pair.upsertAtClient({ presharedKey: Buffer.alloc(32, 9).toString("base64") }), lab)
    pair.hosts(pair.gateway, gatewayAddress)
    pair.hosts(pair.client, clientAddress)
    pair.world.run(1_000)
    assert.strictEqual(pair.client.told("ConnectionLost")[0]?.reason, "HandshakeFailed")
    assert.strictEqual(pair.gateway.count("wireguard.handshake_answered"), 1)
    assert.isFalse(pair.gateway.state?.connected)
  })

  it("that roams keeps its session", () => {
    const pair = direct()
    assert.isTrue(passes(pair))
    pair.client.addresses = ["192.0.2.99"]
    pair.hosts(pair.client, "192.0.2.99")
    assert.isBelow(healsIn(pair, 5_000), 1_000)
    assert.strictEqual(handshakes(pair.gateway), 1)
    pair.world.run(2_000)
    assert.deepInclude(pair.gateway.state, { path: "direct", endpoint: { address: "192.0.2.99", port: 52_625 } })
  })

  it("that roams without a word from the portal keeps its session too", () => {
    const pair = direct()
    assert.isTrue(passes(pair))
    pair.passes = false
    pair.client.addresses = ["192.0.2.99"]
    pair.hosts(pair.client, "192.0.2.99")
    assert.isBelow(healsIn(pair, 5_000), 1_000)
    assert.strictEqual(handshakes(pair.gateway), 1)
  })
})

describe("a packet that was late on the old path", () => {
  it("turns the gateway's away from the new one for less than 2 s, though the client only receives", () => {
    const { pair } = relayed()
    const { world } = pair
    const { drops } = world
    assert.isTrue(passes(pair))
    const held: Array<Parameters<typeof drops>[0]> = []
    const isLate = ({ bytes, to }: Parameters<typeof drops>[0]) =>
      isAt(gatewayAddress)({ from: to, to, bytes }) && bytes[0]! >= 0x40 && bytes[4] === 4
    world.drops = (datagram) => (isLate(datagram) ? held.push(datagram) > 0 : drops(datagram))
    pair.client.route(there())
    world.settle()
    world.drops = () => false
    pair.hosts(pair.client, "2001:db8::2")
    pair.hosts(pair.gateway, "2001:db8::1")
    world.run(3_000)
    // Whether the gateway's next packet goes straight to the client.
    const straight = () => {
      const before = world.wire.length
      pair.gateway.route(back)
      world.settle()
      return world.wire
        .slice(before)
        .some(({ bytes, to }) => bytes[0] === 4 && isAt("2001:db8::2")({ from: to, to, bytes }))
    }
    assert.isTrue(straight())

    world.put(held[0]!)
    world.settle()

    assert.isFalse(straight())
    const received = pair.client.received.length
    for (let i = 0; i < 20; i++) {
      pair.gateway.route(back)
      world.run(100)
    }
    assert.strictEqual(pair.client.received.length, received + 20)
    assert.isTrue(straight())
    world.run(2_000)
    assert.strictEqual(pair.gateway.state?.path, "direct")
  })
})

describe("a client whose connection is lost", () => {
  /** The gateway's handshakes went unanswered; the client's last one is still under way. */
  const lost = () => {
    const pair = direct()
    const { world } = pair
    assert.isTrue(passes(pair))
    let held: Parameters<typeof world.put>[0] | undefined
    world.drops = (datagram) => {
      const { bytes, from, to } = datagram
      if (bytes[0] === 1 && isAt(clientAddress)({ from, to: from, bytes })) held = datagram
      return (bytes[0] === 1 || bytes[0] === 2) && from.port === to.port
    }
    pair.client.start()
    for (let second = 0; second < 50; second++) {
      pair.gateway.route(back)
      world.run(1_000)
    }
    assert.strictEqual(pair.gateway.told("ConnectionLost")[0]?.reason, "HandshakeFailed")
    world.drops = () => false
    return { pair, held: held! }
  }

  it("is not answered a handshake before the portal has introduced it again", () => {
    const { held, pair } = lost()
    const answered = handshakes(pair.gateway)
    const unknown = pair.gateway.count("wireguard.handshake_unknown_peer")

    pair.world.put(held)
    pair.world.run(2_000)

    assert.strictEqual(handshakes(pair.gateway), answered)
    assert.strictEqual(pair.gateway.count("wireguard.handshake_unknown_peer"), unknown + 1)
    assert.deepInclude(pair.gateway.state, { connected: false, path: null, endpoint: null })
    pair.introduce()
    assert.isBelow(healsIn(pair, 10_000), 6_000)
    assert.strictEqual(pair.gateway.count("sessions.created"), 1)
  })

  it("has its packets counted as without a path, once no more of them can wait", () => {
    const { pair } = lost()
    const before = pair.gateway.count("inbound.no_path")
    const full = pair.gateway.count("inbound.stage_full")
    pair.world.run(6_000)
    for (let i = 0; i < 20; i++) pair.gateway.route(back)
    pair.world.settle()
    assert.strictEqual(pair.gateway.count("inbound.no_path"), before + 4)
    assert.strictEqual(pair.gateway.count("inbound.stage_full"), full)
  })
})

describe("relays", () => {
  it("that go silent are left for another one, whose candidates are told, and flows go on", () => {
    const { pair, servers } = relayed(2)
    assert.isTrue(passes(pair))
    for (const host of [pair.gateway, pair.client]) host.notices.length = 0
    const used = servers.filter((server) => server.liveAllocations(pair.world.now).some((a) => a.channels.size > 0))
    assert.isNotEmpty(used)
    used[0]!.silent = true
    pair.insists = true
    assert.isBelow(healsIn(pair, 60_000), 25_000)
    pair.world.run(20_000)
    assert.isTrue(passes(pair))
    assert.isNotEmpty([...pair.gateway.told("RelayLost"), ...pair.client.told("RelayLost")])
    assert.strictEqual(pair.gateway.count("sessions.created"), 1)
    for (const server of servers) assert.deepStrictEqual(server.violations, [])
  })

  it("that are restarted and forgot everything are used again", () => {
    const { pair, servers } = relayed(1)
    assert.isTrue(passes(pair))
    servers[0]!.restart()
    assert.isBelow(healsIn(pair, 60_000), 20_000)
    assert.deepStrictEqual(servers[0]!.violations, [])
  })

  it("that the portal takes away take their candidates with them", () => {
    const { pair, relays, servers } = relayed(2)
    const sampled = pair.gateway.told("CandidateFound").find(({ candidate }) => candidate.includes("typ relay"))!
    const index = servers.findIndex((server) => sampled.candidate.includes(` ${server.relayed4} `))
    pair.gateway.notices.length = 0
    pair.relays(...relays.filter((_, i) => i !== index))
    pair.world.run(2_000)
    assert.includeMembers([...kinds(pair.gateway.notices)], ["CandidateLost relay", "CandidateFound relay"])
    const lost = pair.gateway.told("CandidateLost").find(({ candidate }) => candidate.includes("typ relay"))
    assert.strictEqual(lost?.candidate, sampled.candidate)
    assert.isBelow(healsIn(pair, 20_000), 20_000)
    assert.deepStrictEqual(pair.gateway.told("RelayLost"), [])
  })

  it("that refuse our credentials are reported, and connections do without", () => {
    const pair = new IcePair()
    const { relay } = pair.addRelay("a", "203.0.113.1", "198.51.100.9")
    pair.relays({ ...relay, password: "wrong" })
    pair.introduce()
    pair.world.run(2_000)
    assert.deepInclude(pair.gateway.told("RelayLost")[0], { relay: relay.id, reason: "WrongCredentials", left: 0 })
    // The relay still showed us our own address.
    assert.isTrue(passes(pair))
    assert.strictEqual(pair.gateway.state?.path, "direct")
  })
})

describe("a new worker", () => {
  it("calls a client that was reached directly: flows go on within a second", () => {
    const pair = direct()
    assert.isTrue(passes(pair))
    pair.gateway.start()
    assert.isBelow(healsIn(pair, 10_000), 1_000)
    pair.world.run(3_000)
    assert.deepInclude(pair.gateway.state, { connected: true, path: "direct" })
  })

  it("allocates anew at the relay, tells the new candidate, and flows go on", () => {
    const { pair, servers } = relayed(1)
    assert.isTrue(passes(pair))
    pair.gateway.start()
    assert.isBelow(healsIn(pair, 30_000), 5_000)
    assert.strictEqual(pair.gateway.state?.path, "relayed")
    assert.deepStrictEqual(servers[0]!.violations, [])
  })

  it("of the client connects again", () => {
    const pair = direct()
    assert.isTrue(passes(pair))
    pair.client.start()
    assert.isBelow(healsIn(pair, 10_000), 1_000)
  })
})
