import { assert, describe, it } from "@effect/vitest"
import { formatTransport } from "../../src/packet/transportAddress.ts"
import { at, Nat, Network, Side } from "./network.ts"

const clientBase = at("10.0.0.1", 1000)
const gatewayHost = at("192.0.2.2", 52_625)

/** A client behind a NAT, a gateway without one, each with an address at a relay; connected directly. */
const world = () => {
  const network = new Network()
  const nat = new Nat(network, "portRestricted", "203.0.113.1")
  const client = new Side(network, "controlling", nat)
  const gateway = new Side(network, "controlled")
  const clientRelay = client.relay(at("198.51.100.1", 50_000))
  const gatewayRelay = gateway.relay(at("198.51.100.2", 50_000))
  gateway.hear(client.host(clientBase), client.reflexive(clientBase), clientRelay)
  client.hear(gateway.host(gatewayHost), gatewayRelay)
  /** Data in both directions, as it keeps both agents awake. */
  const busy = (from: number, to: number) => {
    for (let time = from; time < to; time += 500) {
      network.later(time - network.now, () => {
        client.agent.activity(network.now)
        gateway.agent.activity(network.now)
      })
    }
  }
  busy(0, 120_000)
  network.run(5_000)
  assert.isFalse(client.agent.path!.relayed)
  assert.strictEqual(gateway.path, "192.0.2.2:52625 > 203.0.113.1:20000")
  return { network, nat, client, gateway, clientRelay, gatewayRelay }
}

const isDirect = (side: Side) => side.path !== null && !side.path.includes("198.51.100.")

describe("a path that dies", () => {
  it("is replaced by one over a relay within 6 s on both sides, and taken up again when it is back", () => {
    const { client, gateway, network } = world()
    const cut = network.now
    network.blocked = (from, to) =>
      [from, to].some((end) => end.address.w3 === gatewayHost.address.w3) &&
      [from, to].some((end) => end.address.w3 === at("203.0.113.1", 1).address.w3)

    network.run(cut + 30_000, () => !isDirect(client) && !isDirect(gateway))
    const healed = network.now
    assert.isBelow(healed - cut, 6_000)
    assert.isNotNull(client.path)
    assert.isNotNull(gateway.path)
    assert.isFalse(client.nominated.includes(null))
    assert.isFalse(gateway.nominated.includes(null))

    // Before the direct pair is given up.
    network.blocked = () => false
    network.run(healed + 20_000)
    assert.isTrue(isDirect(client))
    assert.isTrue(isDirect(gateway))
  })

  it("in one direction only is left by both", () => {
    for (const dead of ["203.0.113.1", "192.0.2.2"]) {
      const { client, gateway, network } = world()
      const cut = network.now
      network.blocked = (from, to) => from.address.w3 === at(dead, 1).address.w3 && !isRelay(from) && !isRelay(to)

      network.run(cut + 30_000, () => !isDirect(client) && !isDirect(gateway))

      assert.isBelow(network.now - cut, 12_000, dead)
    }
  })
})

const isRelay = (address: { readonly address: { readonly w3: number } }) =>
  address.address.w3 >>> 8 === at("198.51.100.0", 1).address.w3 >>> 8

describe("roaming", () => {
  it("to another public port (the NAT started anew) is followed by both within 10 s, again and again, without signalling", () => {
    const { client, gateway, nat, network } = world()
    const start = network.now

    nat.restart()
    network.run(start + 10_000)
    assert.isTrue(isDirect(client))
    assert.strictEqual(gateway.path, "192.0.2.2:52625 > 203.0.113.1:20001")
    nat.restart()
    network.run(start + 20_000)

    assert.isTrue(isDirect(client))
    assert.strictEqual(gateway.path, "192.0.2.2:52625 > 203.0.113.1:20002")
    assert.strictEqual(gateway.agent.state, "connected")
  })

  it("to another address of the client's host is followed, and the old one forgotten", () => {
    const network = new Network()
    const client = new Side(network, "controlling")
    const gateway = new Side(network, "controlled")
    const old = client.host(at("192.0.2.1", 1000))
    gateway.hear(old)
    client.hear(gateway.host(gatewayHost))
    network.run(1_000)
    assert.strictEqual(gateway.path, "192.0.2.2:52625 > 192.0.2.1:1000")

    client.agent.removeLocal(old, network.now)
    const moved = client.host(at("192.0.2.7", 1000))
    network.run(1_100)

    assert.strictEqual(client.path, "192.0.2.7:1000 > 192.0.2.2:52625")
    assert.strictEqual(gateway.path, "192.0.2.2:52625 > 192.0.2.7:1000")
    gateway.hear(moved)
    network.run(600_000)
    assert.strictEqual(gateway.path, "192.0.2.2:52625 > 192.0.2.7:1000")
    assert.deepStrictEqual(gateway.failures, [])
  })
})

describe("a candidate that comes later", () => {
  it("and is better is nominated, on both sides", () => {
    const network = new Network()
    const client = new Side(network, "controlling")
    const gateway = new Side(network, "controlled")
    const clientRelay = client.relay(at("198.51.100.1", 50_000))
    const gatewayRelay = gateway.relay(at("198.51.100.2", 50_000))
    client.hear(gatewayRelay)
    gateway.hear(clientRelay)
    network.run(1_000)
    assert.isTrue(client.agent.path!.relayed)
    assert.isTrue(gateway.agent.path!.relayed)

    const host = client.host(at("192.0.2.1", 1000))
    client.hear(gateway.host(gatewayHost))
    gateway.hear(host)
    network.run(2_000)

    assert.strictEqual(client.path, "192.0.2.1:1000 > 192.0.2.2:52625")
    assert.strictEqual(gateway.path, "192.0.2.2:52625 > 192.0.2.1:1000")
    assert.lengthOf(client.nominated, 2)
  })

  it("and is worse changes nothing", () => {
    const { client, gateway, network } = world()
    const before = [client.nominated.length, gateway.nominated.length]

    gateway.hear({ ...client.relay(at("198.51.100.5", 50_000)), priority: 1 })
    network.run(network.now + 20_000)

    assert.deepStrictEqual([client.nominated.length, gateway.nominated.length], before)
  })
})

describe("a candidate that was learned from a check", () => {
  it("has the priority that is told later", () => {
    const network = new Network()
    const client = new Side(network, "controlling")
    const gateway = new Side(network, "controlled")
    const first = client.host(at("192.0.2.1", 1000))
    client.host(at("192.0.2.7", 1000), 1)
    client.hear(gateway.host(gatewayHost))
    network.run(1_000)
    assert.strictEqual(gateway.path, "192.0.2.2:52625 > 192.0.2.1:1000")
    // The worse one is nominated as well, since the better one does not work for a while.
    network.blocked = (from, to) => from.address.w3 === first.address.address.w3 && to.port === gatewayHost.port
    network.run(20_000, () => gateway.path === "192.0.2.2:52625 > 192.0.2.7:1000")
    network.blocked = () => false
    network.run(40_000)
    assert.strictEqual(gateway.path, "192.0.2.2:52625 > 192.0.2.1:1000")

    gateway.hear({ ...first, priority: 1 })

    assert.strictEqual(gateway.path, "192.0.2.2:52625 > 192.0.2.7:1000")
  })
})

describe("moving to another relay", () => {
  it("keeps a relayed connection, without a moment without path, when the new candidate comes first", () => {
    const network = new Network()
    const client = new Side(network, "controlling", new Nat(network, "symmetric", "203.0.113.1"))
    const gateway = new Side(network, "controlled", new Nat(network, "symmetric", "203.0.113.2"))
    client.host(clientBase)
    gateway.host(at("192.168.0.1", 52_625))
    const clientRelay = client.relay(at("198.51.100.1", 50_000))
    const first = gateway.relay(at("198.51.100.2", 50_000))
    client.hear(first)
    gateway.hear(clientRelay)
    network.run(5_000)
    assert.strictEqual(gateway.agent.state, "connected")

    const second = gateway.relay(at("198.51.100.3", 50_000))
    gateway.hear(clientRelay)
    gateway.letThrough(clientRelay.address)
    client.hear(second)
    network.run(5_200)
    gateway.agent.removeLocal(first, network.now)
    gateway.loseRelay(first)
    client.agent.removeRemote(first, network.now)
    network.run(8_000)

    assert.strictEqual(gateway.agent.state, "connected")
    assert.strictEqual(client.agent.state, "connected")
    const involved = `${client.path} ${gateway.path}`
    assert.include(involved, "198.51.100.3:50000")
    assert.notInclude(involved, "198.51.100.2:50000")
    assert.deepStrictEqual([...client.failures, ...gateway.failures], [])
  })

  it("is survived when the old one is gone first, if the new candidate comes within 2 s", () => {
    const network = new Network()
    const client = new Side(network, "controlling")
    const gateway = new Side(network, "controlled")
    const clientRelay = client.relay(at("198.51.100.1", 50_000))
    const first = gateway.relay(at("198.51.100.2", 50_000))
    client.hear(first)
    gateway.hear(clientRelay)
    network.run(5_000)
    assert.strictEqual(client.agent.state, "connected")

    gateway.agent.removeLocal(first, network.now)
    gateway.loseRelay(first)
    client.agent.removeRemote(first, network.now)
    assert.isNull(client.path)
    assert.isNull(gateway.path)
    network.run(6_500)
    const second = gateway.relay(at("198.51.100.3", 50_000))
    gateway.letThrough(clientRelay.address)
    client.hear(second)
    network.run(8_000)

    assert.strictEqual(client.agent.state, "connected")
    assert.strictEqual(gateway.agent.state, "connected")
  })
})

describe("an idle agent", () => {
  it("that loses its path checks a new one at full speed", () => {
    const network = new Network()
    const client = new Side(network, "controlling")
    const gateway = new Side(network, "controlled")
    const first = gateway.host(gatewayHost)
    gateway.hear(client.host(at("192.0.2.1", 1000)))
    client.hear(first)
    network.run(100_000)
    assert.strictEqual(client.agent.state, "connected")

    client.agent.removeRemote(first, network.now)
    network.blocked = () => true
    client.hear(gateway.host(at("192.0.2.3", 52_625)))
    network.run(100_600)
    network.blocked = () => false
    network.run(101_000)

    assert.strictEqual(client.path, "192.0.2.1:1000 > 192.0.2.3:52625")
  })
})

describe("what an agent sends", () => {
  it("leaves from the address that it is paired with, and answers from the one addressed", () => {
    const network = new Network()
    const client = new Side(network, "controlling")
    const gateway = new Side(network, "controlled")
    gateway.host(at("192.0.2.2", 52_625))
    gateway.host(at("192.0.2.3", 52_625), 1)
    client.host(at("192.0.2.1", 1000))
    client.hear({ ...gateway.host(at("192.0.2.4", 52_625), 2), priority: 1 })

    network.run(2_000)

    // The gateway knows no candidate of the client but what it learned, and only at the address where it learned it.
    assert.strictEqual(gateway.path, "192.0.2.4:52625 > 192.0.2.1:1000")
    assert.deepStrictEqual(
      [...new Set(network.sent.filter((sent) => sent.to === "192.0.2.1:1000").map((sent) => sent.from))],
      ["192.0.2.4:52625"]
    )
  })

  it("stays in one family, and never goes through a relay to a host candidate", () => {
    const network = new Network()
    const client = new Side(network, "controlling")
    const used = new Set<string>()
    const gateway = new Side(network, "controlled", undefined, {
      transmit: (path) => void used.add(`${formatTransport(path.local)} ${formatTransport(path.remote)}`)
    })
    gateway.hear(client.host(at("192.0.2.1", 1000)), client.host(at("2001:db8::1", 1000)))
    gateway.host(at("192.0.2.2", 52_625))
    gateway.relay(at("2001:db8:9::2", 50_000))

    network.run(2_000)

    assert.deepStrictEqual([...used], ["192.0.2.2:52625 192.0.2.1:1000"])
  })
})
