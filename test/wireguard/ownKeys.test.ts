/** A gateway whose own key is being replaced: the old one and the new one answer side by side, then the new one alone. */
import { assert, describe, it } from "@effect/vitest"
import { copyEndpoint } from "../../src/packet/endpoint.ts"
import type { Peer } from "../../src/wireguard/WireGuard.ts"
import { range } from "../support/bytes.ts"
import { Clock, settle, Side, type SideOptions, text } from "./sides.ts"

const oldKey = range(1, 33)
const newKey = range(101, 133)

const publicKeyOf = (privateKey: Uint8Array): Uint8Array => new Side({ clock: new Clock(), privateKey }).wg.publicKey
const oldPublic = publicKeyOf(oldKey)
const newPublic = publicKeyOf(newKey)

const hex = (bytes: Uint8Array | null): string | null => (bytes === null ? null : Buffer.from(bytes).toString("hex"))

/** A gateway of the old key and a client of it; `knows` is the gateway's key in the client's file. */
const makeWorld = (limits: SideOptions["limits"] = {}) => {
  const clock = new Clock()
  const gateway = new Side({ clock, address: "192.0.2.2", privateKey: oldKey, limits })
  const client = (address: string, knows: Uint8Array) => {
    const side = new Side({ clock, address })
    const toGateway = side.wg.addPeer({ publicKey: knows, presharedKey: null, keepalive: 0, user: 7 })
    copyEndpoint(gateway.at, toGateway.endpoint)
    toGateway.hasEndpoint = true
    const known = gateway.wg.addPeer({ publicKey: side.wg.publicKey, presharedKey: null, keepalive: 0, user: 9 })
    const connect = () => {
      side.initiate(toGateway)
      return settle({ a: side, b: gateway })
    }
    const reaches = (what: string) => {
      const data = side.seal(toGateway, text(what))
      return data !== undefined && gateway.receive(data, side.at) === "Data"
    }
    return { side, toGateway, known, connect, reaches }
  }
  return { clock, gateway, client }
}

const answered = ["b:Handled", "b:Answered", "a:Handled", "a:Completed", "b:Keepalive"]

describe("while a key is being replaced", () => {
  it("clients of the old key and of the new one connect, and what each has proved is known", () => {
    const { client, gateway } = makeWorld()
    const [stays, moves] = [client("192.0.2.11", oldPublic), client("192.0.2.12", newPublic)]
    gateway.wg.setKeys(newKey, oldKey)

    assert.deepStrictEqual(stays.connect(), answered)
    assert.deepStrictEqual(moves.connect(), answered)

    assert.isTrue(stays.reaches("old") && moves.reaches("new"))
    assert.deepStrictEqual(
      [stays.known, moves.known].map(({ ownKey }) => hex(ownKey)),
      [hex(oldPublic), hex(newPublic)]
    )
    assert.deepStrictEqual(gateway.wg.publicKey, newPublic)
  })

  it("a session that began before goes on, and one that is renewed by the other key takes its place", () => {
    const { client, clock, gateway } = makeWorld()
    const { connect, known, reaches, side, toGateway } = client("192.0.2.11", oldPublic)
    connect()
    gateway.wg.setKeys(newKey, oldKey)
    assert.isTrue(reaches("still"))

    clock.advance(1_000)
    side.wg.removePeer(toGateway)
    const fresh = side.wg.addPeer({ publicKey: newPublic, presharedKey: null, keepalive: 0, user: 7 })
    copyEndpoint(gateway.at, fresh.endpoint)
    fresh.hasEndpoint = true
    side.initiate(fresh)
    assert.deepStrictEqual(settle({ a: side, b: gateway }), answered)

    assert.strictEqual(gateway.receive(side.seal(fresh, text("moved"))!, side.at), "Data")
    assert.strictEqual(hex(known.ownKey), hex(newPublic))
  })

  it("who has begun a handshake has not moved yet: only a packet under its keys proves it", () => {
    const { client, gateway } = makeWorld()
    const { known, side, toGateway } = client("192.0.2.11", newPublic)
    gateway.wg.setKeys(newKey, oldKey)
    side.initiate(toGateway)
    gateway.receive(side.take()[0]!.bytes, side.at)

    assert.deepStrictEqual(gateway.work(), ["Answered"])
    assert.isNull(known.ownKey)
    settle({ a: side, b: gateway })
    assert.strictEqual(hex(known.ownKey), hex(newPublic))
  })

  it("a recorded initiation for the old key, sent again, moves nobody back", () => {
    const { client, clock, gateway } = makeWorld()
    const { known, side, toGateway } = client("192.0.2.11", oldPublic)
    side.initiate(toGateway)
    const recorded = side.take()[0]!.bytes
    gateway.wg.setKeys(newKey, oldKey)
    clock.advance(1_000)
    known.ownKey = newPublic
    known.latestTai64n.fill(0xff)

    assert.strictEqual(gateway.receive(recorded, side.at), "Handled")
    assert.deepStrictEqual(gateway.work(), ["Unproven"])

    assert.strictEqual(hex(known.ownKey), hex(newPublic))
    // Its sender proves by the first packet that it is there, whatever its clock says.
    gateway.take()
    clock.advance(5_400)
    side.tick()
    settle({ a: side, b: gateway })
    assert.strictEqual(hex(known.ownKey), hex(oldPublic))
  })

  it("handshakes that the gateway begins are made with the key that the client has proved, after a restart too", () => {
    const { client, clock, gateway } = makeWorld()
    const called = (knows: Uint8Array, proved: Uint8Array | null, address: string) => {
      const { known, side } = client(address, knows)
      known.ownKey = proved
      copyEndpoint(side.at, known.endpoint)
      known.hasEndpoint = true
      gateway.initiate(known)
      settle({ a: side, b: gateway })
      return known.hasSession(clock.now)
    }
    gateway.wg.setKeys(newKey, oldKey)

    assert.isTrue(called(oldPublic, oldPublic, "192.0.2.11"))
    assert.isTrue(called(newPublic, newPublic, "192.0.2.12"))
    // Nothing is known of what it has: it came before there was another key.
    assert.isTrue(called(oldPublic, null, "192.0.2.13"))
    gateway.wg.setKeys(newKey, null)
    assert.isTrue(called(newPublic, oldPublic, "192.0.2.14"))
  })

  it("a call that is not answered is followed by one with the other key: nobody knows what each client has by now", () => {
    const { client, clock, gateway } = makeWorld()
    const callsUntilAnswer = (knows: Uint8Array, proved: Uint8Array | null, address: string) => {
      const { known, side } = client(address, knows)
      known.ownKey = proved
      copyEndpoint(side.at, known.endpoint)
      known.hasEndpoint = true
      gateway.initiate(known)
      for (let calls = 1; calls <= 4; calls++) {
        settle({ a: side, b: gateway })
        if (known.hasSession(clock.now)) return calls
        clock.advance(5_400)
        gateway.tick()
      }
      return null
    }
    gateway.wg.setKeys(newKey, oldKey)

    // It moved just before a restart, which forgot that.
    assert.strictEqual(callsUntilAnswer(newPublic, oldPublic, "192.0.2.11"), 2)
    assert.strictEqual(callsUntilAnswer(oldPublic, newPublic, "192.0.2.12"), 2)
    gateway.wg.setKeys(oldKey, newKey)
    // After a rotation that was cancelled, nothing is known of what it has.
    assert.strictEqual(callsUntilAnswer(oldPublic, null, "192.0.2.13"), 2)
  })

  it("cookies are those of the key that was asked for", () => {
    const { client, clock, gateway } = makeWorld({ loadMark: 0 })
    const clients = [client("192.0.2.11", oldPublic), client("192.0.2.12", newPublic)]
    gateway.wg.setKeys(newKey, oldKey)

    for (const { side, toGateway } of clients) {
      side.initiate(toGateway)
      assert.deepStrictEqual(settle({ a: side, b: gateway }), ["b:CookieSent", "a:Handled"])
    }
    clock.advance(5_400)
    for (const { side } of clients) {
      side.tick()
      assert.deepStrictEqual(settle({ a: side, b: gateway }), answered)
    }
  })

  it("a message for the first key costs one MAC, and one for none of them two, which count as two messages", () => {
    const { client, clock, gateway } = makeWorld({ seenPerTurn: 8, loadMark: 1_000 })
    const first = client("192.0.2.11", newPublic)
    const none = client("192.0.2.12", publicKeyOf(range(201, 233)))
    gateway.wg.setKeys(newKey, oldKey)
    const messageOf = ({ side, toGateway }: { readonly side: Side; readonly toGateway: Peer }) => {
      side.initiate(toGateway)
      return side.take()[0]!.bytes
    }
    const [right, wrong] = [messageOf(first), messageOf(none)]
    const macsOf = (bytes: Uint8Array, from: Side, messages: number) => {
      const before = gateway.macs
      gateway.wg.beginTurn(false, clock.now)
      const codes = Array.from({ length: messages }, () => gateway.receive(bytes, from.at))
      return { macs: gateway.macs - before, codes: [...new Set(codes)] }
    }

    assert.deepStrictEqual(macsOf(right, first.side, 1), { macs: 1, codes: ["Handled"] })
    assert.deepStrictEqual(macsOf(wrong, none.side, 1), { macs: 2, codes: ["BadMac1"] })
    // No more than a turn's flood costs with one key.
    assert.deepStrictEqual(macsOf(wrong, none.side, 100), { macs: 8, codes: ["BadMac1", "OverBudget"] })
    assert.deepStrictEqual(macsOf(right, first.side, 100), { macs: 8, codes: ["Handled", "OverBudget"] })
  })
})

describe("once the old key has ended", () => {
  it("an initiation for it is dropped before any agreement on a key, and so is one that waits", () => {
    const { client, clock, gateway } = makeWorld()
    const { connect, side, toGateway } = client("192.0.2.11", oldPublic)
    gateway.wg.setKeys(newKey, oldKey)
    side.initiate(toGateway)
    gateway.receive(side.take()[0]!.bytes, side.at)
    gateway.wg.setKeys(newKey, null)
    const agreed = () => gateway.secrets.reduce((sum, secret) => sum + secret.agreed, 0)
    const before = agreed()

    assert.deepStrictEqual(gateway.work(), ["GivenUp"])
    clock.advance(5_400)
    side.tick()
    assert.strictEqual(gateway.receive(side.take()[0]!.bytes, side.at), "BadMac1")
    assert.deepStrictEqual(connect(), [])
    assert.strictEqual(agreed(), before)
  })

  it("its sessions go on until they are renewed, and its secret is forgotten", () => {
    const { client, clock, gateway } = makeWorld()
    const { connect, known, reaches, side } = client("192.0.2.11", oldPublic)
    connect()
    gateway.wg.setKeys(newKey, oldKey)
    gateway.wg.setKeys(newKey, null)

    assert.isTrue(reaches("on"))
    const back = gateway.seal(known, text("back"))!
    assert.strictEqual(side.receive(back, gateway.at), "Data")
    assert.isTrue(gateway.secrets[0]!.freed)
    clock.advance(180_000)
    assert.isFalse(reaches("off"))
  })

  it("the answer to a handshake that was begun with it is nobody's", () => {
    const { client, clock, gateway } = makeWorld()
    const { known, side } = client("192.0.2.11", oldPublic)
    gateway.wg.setKeys(newKey, oldKey)
    copyEndpoint(side.at, known.endpoint)
    known.hasEndpoint = true
    gateway.initiate(known)
    side.receive(gateway.take()[0]!.bytes, gateway.at)
    side.work()
    gateway.wg.setKeys(newKey, null)

    assert.strictEqual(gateway.receive(side.take()[0]!.bytes, side.at), "UnknownReceiver")
    assert.isFalse(known.hasSession(clock.now))
  })
})

describe("keys that are said again", () => {
  it("are the ones that there were: what is under way goes on, also when they change places", () => {
    const { client, clock, gateway } = makeWorld()
    const { known, side } = client("192.0.2.11", oldPublic)
    gateway.wg.setKeys(newKey, oldKey)
    copyEndpoint(side.at, known.endpoint)
    known.hasEndpoint = true
    gateway.initiate(known)
    gateway.wg.setKeys(newKey, oldKey)
    gateway.wg.setKeys(oldKey, newKey)

    settle({ a: side, b: gateway })

    assert.isTrue(known.hasSession(clock.now))
    assert.deepStrictEqual(gateway.wg.publicKey, oldPublic)
  })
})
