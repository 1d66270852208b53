/** What of a portal's client outlives its path (an outage, a new connection, a sleep of the host), and what that costs. */
import { assert, describe, it } from "@effect/vitest"
import type { Command } from "../../src/dataplane/commands.ts"
import { parsePacket, makePacketView } from "../../src/packet/packetView.ts"
import { formatAddress } from "../../src/packet/address.ts"
import { ack, real4, syn } from "../support/engineSteps.ts"
import { addresses, clientId, mappingId, nameCommands, proxy4, resourceId, tunnel4 } from "../support/engineWorld.ts"
import { clientAddress, credentials, gatewayAddress, IcePair, isAt } from "../support/iceWorld.ts"
import { buildTcp } from "../support/packets.ts"

const there = (flags: number) =>
  buildTcp({ source: tunnel4(1), destination: proxy4, sourcePort: 50_000, destinationPort: 443, flags })
const back = (flags: number) =>
  buildTcp({ source: real4, destination: tunnel4(1), sourcePort: 443, destinationPort: 50_000, flags })

const granted: ReadonlyArray<Command> = [
  ...nameCommands(clientId(1), mappingId(1, "app.corp"), { proxyIps: [proxy4] }),
  addresses(1, 1, "Resolved", [real4])
]

const intoProxies: Command = {
  _tag: "SetResource",
  client: clientId(1),
  resource: resourceId("proxies"),
  kind: "cidr",
  network: "100.96.0.0/11",
  filters: [],
  allow: []
}

/** Between the two hosts without a relay. */
const direct: IcePair["world"]["drops"] = ({ from, to }) => [from, to].every((side) => side.port === 52_625)

/** WireGuard's transport message, plain or on a relay's channel. */
const isData = ({ bytes }: { readonly bytes: Uint8Array }) => bytes[bytes[0]! >= 0x40 ? 4 : 0] === 4

/** The client may send into the proxy range, and has a TCP connection to `app.corp`. */
const connected = (path: "direct" | "relayed" = "direct") => {
  const pair = new IcePair()
  if (path === "relayed") {
    pair.relays(pair.addRelay("a", "203.0.113.1", "198.51.100.9").relay)
    pair.world.drops = direct
  }
  pair.introduce()
  pair.gateway.send(...granted)
  pair.client.send(intoProxies)
  pair.hosts(pair.gateway, gatewayAddress)
  pair.hosts(pair.client, clientAddress)
  pair.world.run(3_000)
  assert.strictEqual(pair.gateway.state?.path, path)
  assertGoesOn(pair, syn)
  return pair
}

const ends = (packet: Uint8Array) => {
  const view = makePacketView()
  assert.strictEqual(parsePacket(packet, 0, packet.length, view), 0)
  return `${formatAddress(view.source)} > ${formatAddress(view.destination)}`
}

/** One packet of the TCP connection each way, the gateway's host writing first unless it is the SYN. */
const assertGoesOn = (pair: IcePair, flags: number) => {
  pair.gateway.received.length = 0
  pair.client.received.length = 0
  if (flags === ack) pair.gateway.route(back(ack))
  pair.client.route(there(flags))
  pair.world.settle()
  if (flags === syn) pair.gateway.route(back(syn | ack))
  pair.world.settle()
  assert.deepStrictEqual(pair.gateway.received.map(ends), [`${tunnel4(1)} > ${real4}`])
  assert.deepStrictEqual(pair.client.received.map(ends), [`${proxy4} > ${tunnel4(1)}`])
  assert.strictEqual(pair.gateway.count("sessions.created"), 1)
}

/** The portal introduces both again, with other credentials. */
const again = (pair: IcePair) => {
  const local = { username: "new1", password: "another-password-gatew" }
  const remote = { ...credentials.client, username: "new2" }
  pair.client.send({ _tag: "RemoveClient", client: clientId(1) })
  pair.gateway.send(pair.upsertAtGateway({ ice: { local, remote, role: "controlled" } }), ...granted)
  pair.client.send(pair.upsertAtClient({ ice: { local: remote, remote: local, role: "controlling" } }), intoProxies)
  // What each told before the other knew the new credentials is told again.
  pair.gateway.send(pair.upsertAtGateway({ ice: { local, remote, role: "controlled" } }))
  pair.world.run(2_000)
}

describe("a TCP connection through a portal's gateway", () => {
  for (const seconds of [15, 600]) {
    it(`goes on after an outage of ${seconds} s that cost the client its path, with the same session`, () => {
      const pair = connected()
      pair.world.drops = isAt(clientAddress)
      for (let second = 0; second < seconds; second++) {
        pair.client.route(there(ack))
        pair.world.run(1_000)
      }
      if (seconds === 600) assert.lengthOf(pair.gateway.told("ConnectionLost"), 1)
      pair.world.drops = () => false
      again(pair)
      assertGoesOn(pair, ack)
    })
  }

  for (const path of ["direct", "relayed"] as const) {
    it(`goes on after the gateway's host slept for an hour, ${path}: keys of before are refused, new ones are made`, () => {
      const pair = connected(path)
      const { drops } = pair.world
      const before = pair.world.wire.length
      pair.world.drops = () => true
      pair.client.route(there(ack))
      pair.world.settle()
      const held = pair.world.wire.slice(before).find(isData)!
      const forwarded = pair.gateway.received.length
      // Its clock goes on while it sleeps; nothing else of it does, and the others have given it up meanwhile.
      pair.world.now += 3_600_000
      pair.world.drops = drops
      pair.world.put(held)
      pair.world.settle()
      assert.strictEqual(pair.gateway.received.length, forwarded)
      pair.world.run(10_000)
      again(pair)
      assert.strictEqual(pair.gateway.state?.path, path)
      assertGoesOn(pair, ack)
    })
  }
})

describe("a gateway whose relay and client are gone", () => {
  it("waits: it neither works in a loop nor fills the wire, also while its kernel routes packets for the client", () => {
    const pair = connected("relayed")
    pair.world.drops = () => true
    let steps = 0
    const settle = pair.world.settle.bind(pair.world)
    pair.world.settle = () => {
      steps++
      settle()
    }
    const before = pair.world.wire.length
    for (let second = 0; second < 600; second++) {
      pair.gateway.route(back(ack))
      pair.world.run(1_000)
    }
    // Ten times a second while there are flows that may end.
    assert.isAtMost(steps, 600 * 15)
    assert.isAtMost(pair.world.wire.length - before, 600)
  })
})
