import { assert, describe, it } from "@effect/vitest"
import { type Candidate, localCandidate } from "../../src/ice/candidate.ts"
import { at, Nat, type NatKind, Network, Side } from "./network.ts"

/** A client behind one NAT and a gateway behind another, each with an address at a relay. */
const behindNats = (clientNat: NatKind, gatewayNat: NatKind, seed = 1) => {
  const network = new Network(seed)
  const client = new Side(network, "controlling", new Nat(network, clientNat, "203.0.113.1"))
  const gateway = new Side(network, "controlled", new Nat(network, gatewayNat, "203.0.113.2"))
  const clientBase = at("10.0.0.1", 1000)
  const gatewayBase = at("192.168.0.1", 52_625)
  const told = {
    client: [client.host(clientBase), client.reflexive(clientBase), client.relay(at("198.51.100.1", 50_000))],
    gateway: [gateway.host(gatewayBase), gateway.reflexive(gatewayBase), gateway.relay(at("198.51.100.2", 50_000))]
  }
  return { network, client, gateway, told }
}

const trickle = (network: Network, to: Side, candidates: ReadonlyArray<Candidate>, every: number) => {
  for (const [i, candidate] of candidates.entries()) network.later(i * every, () => to.hear(candidate))
}

describe("two agents", () => {
  it("on one network connect in two round trips, and use the same path", () => {
    const network = new Network()
    const client = new Side(network, "controlling")
    const gateway = new Side(network, "controlled")
    gateway.hear(client.host(at("192.0.2.1", 1000)))
    client.hear(gateway.host(at("192.0.2.2", 52_625)))

    network.run(30)
    assert.strictEqual(gateway.agent.state, "connected")
    assert.isNull(client.path, "its nomination is not answered yet")
    network.run(40)

    assert.strictEqual(client.path, "192.0.2.1:1000 > 192.0.2.2:52625")
    assert.strictEqual(gateway.path, "192.0.2.2:52625 > 192.0.2.1:1000")
    assert.strictEqual(client.agent.state, "connected")
    assert.strictEqual(gateway.agent.state, "connected")
    assert.lengthOf(client.nominated, 1)
    assert.lengthOf(gateway.nominated, 1)
  })

  for (const [clientNat, gatewayNat, relayed] of [
    ["fullCone", "fullCone", false],
    ["fullCone", "portRestricted", false],
    ["portRestricted", "portRestricted", false],
    ["fullCone", "symmetric", false],
    ["symmetric", "fullCone", false],
    ["portRestricted", "symmetric", true],
    ["symmetric", "portRestricted", true],
    ["symmetric", "symmetric", true]
  ] as const) {
    it(`behind NATs ${clientNat} and ${gatewayNat} connect ${relayed ? "through a relay" : "directly"}`, () => {
      const { client, gateway, network, told } = behindNats(clientNat, gatewayNat)
      trickle(network, gateway, told.client, 5)
      trickle(network, client, told.gateway, 7)

      network.run(5_000)

      assert.strictEqual(client.agent.state, "connected")
      assert.strictEqual(gateway.agent.state, "connected")
      const direct = !client.agent.path!.relayed && !gateway.agent.path!.relayed
      const viaRelay = [client.path, gateway.path].some((path) => path!.includes("198.51.100."))
      assert.strictEqual(direct && !viaRelay, !relayed, `${client.path} ${gateway.path}`)
      assert.deepStrictEqual([client.agent.relayed, gateway.agent.relayed], [relayed, relayed])
    })
  }

  it("connect at once when the first check gets through, however long the other side has waited", () => {
    const network = new Network()
    const gateway = new Side(network, "controlled", new Nat(network, "portRestricted", "203.0.113.2"))
    const base = at("192.168.0.1", 52_625)
    const told = [gateway.host(base), gateway.reflexive(base)]
    gateway.hear(localCandidate("host", at("192.0.2.1", 1000)))
    network.run(33_000)

    const client = new Side(network, "controlling")
    client.host(at("192.0.2.1", 1000))
    client.hear(...told)
    network.run(33_100)

    assert.strictEqual(client.agent.state, "connected")
    assert.strictEqual(gateway.agent.state, "connected")
  })

  it("connect when the first nomination is lost, after the first time-out", () => {
    const network = new Network()
    const client = new Side(network, "controlling")
    const gateway = new Side(network, "controlled")
    gateway.hear(client.host(at("192.0.2.1", 1000)))
    client.hear(gateway.host(at("192.0.2.2", 52_625)))
    network.run(19)
    network.later(2, () => (network.blocked = () => false))
    network.blocked = () => true

    network.run(400)

    assert.strictEqual(client.agent.state, "connected")
    assert.strictEqual(gateway.agent.state, "connected")
  })

  it("connect at 30 % loss in each direction within 5 s, mostly within 1 s", () => {
    const times = Array.from({ length: 50 }, (_, i) => {
      const { client, gateway, network, told } = behindNats("portRestricted", "fullCone", i + 1)
      network.loss = 0.3
      trickle(network, gateway, told.client, 5)
      trickle(network, client, told.gateway, 5)
      network.run(60_000, () => client.path !== null && gateway.path !== null)
      return network.now
    }).toSorted((a, b) => a - b)

    assert.isBelow(times[25]!, 1_000)
    assert.isBelow(times[49]!, 5_000)
  })

  it("connect whatever the order and delay of their candidates", () => {
    for (let seed = 1; seed <= 30; seed++) {
      const { client, gateway, network, told } = behindNats("portRestricted", "portRestricted", seed)
      for (const [to, candidates] of [
        [gateway, told.client],
        [client, told.gateway]
      ] as const) {
        for (const candidate of candidates)
          network.later(Math.floor(network.random() * 3_000), () => to.hear(candidate))
      }

      network.run(10_000)

      assert.strictEqual(client.path, "10.0.0.1:1000 > 203.0.113.2:20000", `seed ${seed}`)
      assert.strictEqual(gateway.path, "192.168.0.1:52625 > 203.0.113.1:20000", `seed ${seed}`)
    }
  })
})
