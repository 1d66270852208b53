/** Clients whose path ICE finds: two engines, a portal between them, relays beside them (firezone-protocol §2). */
import { assert, describe, it } from "@effect/vitest"
import { clientId } from "../support/engineWorld.ts"
import { syn } from "../support/engineSteps.ts"
import { IcePair } from "../support/iceWorld.ts"
import { buildTcp } from "../support/packets.ts"
import { clientAddress, gatewayAddress } from "../support/iceWorld.ts"

const there = (sourcePort = 50_000) =>
  buildTcp({ source: "100.64.1.1", destination: "10.20.0.10", sourcePort, destinationPort: 443, flags: syn })
const back = buildTcp({ source: "10.20.0.10", destination: "100.64.1.1", sourcePort: 443, destinationPort: 50_000 })

describe("a client on the same network", () => {
  it("is reached directly", () => {
    const pair = new IcePair()
    pair.introduce()
    pair.hosts(pair.gateway, gatewayAddress)
    pair.hosts(pair.client, clientAddress)
    pair.world.run(1_000)
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
    assert.deepInclude(pair.gateway.state, { connected: true, path: "direct", client: clientId(1) })
  })
  it("is reached by relay", () => {
    const pair = new IcePair()
    const { relay } = pair.addRelay("a", "203.0.113.1", "198.51.100.9")
    pair.world.drops = ({ from, to }) => [from, to].every((a) => a.port === 52_625)
    pair.relays(relay)
    pair.introduce()
    pair.world.run(3_000)
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
    assert.deepInclude(pair.gateway.state, { connected: true, path: "relayed", client: clientId(1) })
  })
})
