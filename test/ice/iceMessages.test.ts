import { assert, describe, it } from "@effect/vitest"
import { isAnswer, isCheck, usernameFrom, writeAnswer, writeCheck } from "../../src/ice/iceMessages.ts"
import { parseStun } from "../../src/ice/stun.ts"
import { shortTermKey } from "../../src/ice/stunIntegrity.ts"
import { StunAttribute, StunMethod } from "../../src/ice/stunProtocol.ts"
import { at, Network, Side } from "./network.ts"

const transaction = Uint8Array.from({ length: 12 }, (_, i) => i)
const key = shortTermKey("the password of the side that is asked")
const request = {
  transaction,
  username: usernameFrom({ username: "asked", password: "" }, { username: "asks", password: "" }),
  role: "controlling",
  tieBreaker: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8),
  priority: 0x6eff_ffff,
  nominate: true
} as const

describe("a check", () => {
  it("carries what the peers demand, in a request of 100 bytes at most", () => {
    const bytes = writeCheck(request, key)
    const message = parseStun(bytes)!

    assert.deepStrictEqual(message.types(), [
      StunAttribute.username,
      StunAttribute.priority,
      StunAttribute.iceControlling,
      StunAttribute.useCandidate,
      StunAttribute.messageIntegrity
    ])
    assert.strictEqual(bytes.at(-8)! * 256 + bytes.at(-7)!, StunAttribute.fingerprint)
    assert.strictEqual(message.text(StunAttribute.username), "asked:asks")
    assert.strictEqual(message.number(StunAttribute.priority), 0x6eff_ffff)
    assert.deepStrictEqual(message.value(StunAttribute.iceControlling), request.tieBreaker)
    assert.isTrue(message.verify(key))
    assert.isTrue(isCheck(message))
    assert.isFalse(isAnswer(message))
    assert.isAtMost(bytes.length, 100)
  })

  it("of the controlled side says so and nominates nothing", () => {
    const message = parseStun(writeCheck({ ...request, role: "controlled", nominate: false }, key))!

    assert.isTrue(message.has(StunAttribute.iceControlled))
    assert.isFalse(message.has(StunAttribute.iceControlling))
    assert.isFalse(message.has(StunAttribute.useCandidate))
  })

  it("says the priority of a peer-reflexive candidate, each address its own", () => {
    const network = new Network()
    const client = new Side(network, "controlling")
    const gateway = new Side(network, "controlled")
    client.host(at("192.0.2.1", 1))
    client.host(at("192.0.2.1", 2), 1)
    client.hear(gateway.host(at("192.0.2.2", 3)))

    network.run(5)

    const priorities = network.sent.map((sent) => parseStun(sent.bytes)!.number(StunAttribute.priority)!)
    assert.deepStrictEqual(
      priorities.map((priority) => priority >>> 24),
      [110, 110]
    )
    assert.isAbove(priorities[0]!, priorities[1]!)
  })
})

describe("an answer", () => {
  it("carries the address that was seen and no name", () => {
    const message = parseStun(writeAnswer(transaction, at("2001:db8::1", 9), key))!

    assert.strictEqual(message.class, "success")
    assert.strictEqual(message.method, StunMethod.binding)
    assert.deepStrictEqual(message.transaction, transaction)
    assert.deepStrictEqual(message.types(), [StunAttribute.xorMappedAddress, StunAttribute.messageIntegrity])
    assert.deepStrictEqual(message.address(StunAttribute.xorMappedAddress), at("2001:db8::1", 9))
    assert.isTrue(message.verify(key))
    assert.isTrue(isAnswer(message))
    assert.isFalse(isCheck(message))
  })
})
