import { assert, describe, it } from "@effect/vitest"
import { Arbitrary } from "effect"
import { Message, parseMessage } from "werift-ice"
import { looksLikeStun, parseStun, type StunMessage } from "../../src/ice/stun.ts"
import { longTermKey, shortTermKey } from "../../src/ice/stunIntegrity.ts"
import { AddressFamily, StunAttribute, type StunClass, StunMethod } from "../../src/ice/stunProtocol.ts"
import { StunWriter } from "../../src/ice/StunWriter.ts"
import { formatTransport, transportAddress } from "../../src/packet/transportAddress.ts"
import { byte, bytes, host4, host6, integer, port } from "../support/packetArbitraries.ts"

const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(/\s/g, ""), "hex"))
const utf8 = (text: string) => new TextEncoder().encode(text)
const at = (address: string, on: number) => transportAddress(address, on)!
const parsed = (message: Uint8Array): StunMessage => {
  const result = parseStun(message)
  assert.isDefined(result)
  return result
}

/** RFC 5769 §2. */
const vectors = {
  request: hex(`000100582112a442b7e7a701bc34d686fa87dfae
    802200105354554e207465737420636c69656e74 002400046e0001ff 80290008932ff9b151263b36
    000600096576746a3a68367659202020 000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2 80280004e57a3bcf`),
  ipv4: hex(`0101003c2112a442b7e7a701bc34d686fa87dfae 8022000b7465737420766563746f7220
    002000080001a147e112a643 000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7 80280004c07d4c96`),
  ipv6: hex(`010100482112a442b7e7a701bc34d686fa87dfae 8022000b7465737420766563746f7220
    002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9
    00080014a382954e4be67bf11784c97c8292c275bfe3ed41 80280004c8fb0b4c`),
  longTerm: hex(`000100602112a44278ad3433c6ad72c029da412e 00060012e3839ee38388e383aae38383e382afe382b90000
    0015001c662f2f3439396b39353464364f4c33346f4c39465354767936347341 0014000b6578616d706c652e6f726700
    00080014f67024656dd64a3e02b8e0712e85c9a28ca89666`)
}
const password = shortTermKey("VOkJxbRl1RmTxUk/WvJxBt")
const transaction = hex("b7e7a701bc34d686fa87dfae")

describe("the vectors of RFC 5769", () => {
  it("2.1: a request with short-term credentials is read", () => {
    const message = parsed(vectors.request)

    assert.strictEqual(message.class, "request")
    assert.strictEqual(message.method, StunMethod.binding)
    assert.deepStrictEqual(message.transaction, transaction)
    assert.strictEqual(message.text(StunAttribute.software), "STUN test client")
    assert.strictEqual(message.number(StunAttribute.priority), 0x6e0001ff)
    assert.deepStrictEqual(message.value(StunAttribute.iceControlled), hex("932ff9b151263b36"))
    assert.strictEqual(message.text(StunAttribute.username), "evtj:h6vY")
    assert.isTrue(message.verify(password))
    assert.isFalse(message.verify(shortTermKey("VOkJxbRl1RmTxUk/WvJxBu")))
  })

  it("2.2 and 2.3: the mapped address of a response is read, of both families", () => {
    const message4 = parsed(vectors.ipv4)
    const message6 = parsed(vectors.ipv6)

    assert.strictEqual(message4.class, "success")
    assert.deepStrictEqual(message4.address(StunAttribute.xorMappedAddress), at("192.0.2.1", 32853))
    assert.isTrue(message4.verify(password))
    assert.deepStrictEqual(
      message6.address(StunAttribute.xorMappedAddress),
      at("2001:db8:1234:5678:11:2233:4455:6677", 32853)
    )
    assert.isTrue(message6.verify(password))
  })

  it("2.4: a request with long-term credentials is read, and written byte for byte", () => {
    const key = longTermKey("マトリックス", utf8("example.org"), "TheMatrIX")
    const message = parsed(vectors.longTerm)

    assert.strictEqual(message.text(StunAttribute.username), "マトリックス")
    assert.strictEqual(message.text(StunAttribute.nonce), "f//499k954d6OL34oL9FSTvy64sA")
    assert.isTrue(message.verify(key))
    assert.deepStrictEqual(
      new StunWriter("request", StunMethod.binding, hex("78ad3433c6ad72c029da412e"))
        .text(StunAttribute.username, "マトリックス")
        .text(StunAttribute.nonce, "f//499k954d6OL34oL9FSTvy64sA")
        .text(StunAttribute.realm, "example.org")
        .finish(key, false),
      vectors.longTerm
    )
  })

  it("are written with the same values (their padding is spaces, ours is zeros)", () => {
    const written = new StunWriter("success", StunMethod.binding, transaction)
      .text(StunAttribute.software, "test vector")
      .address(StunAttribute.xorMappedAddress, at("2001:db8:1234:5678:11:2233:4455:6677", 32853))
      .finish(password)

    const spaced = written.slice(0, 60)
    spaced[35] = 0x20
    assert.deepStrictEqual(spaced, vectors.ipv6.slice(0, 60))
    assert.isTrue(parsed(written).verify(password))
  })
})

describe("reading a STUN message", () => {
  const well = () =>
    new StunWriter("request", StunMethod.binding, transaction)
      .text(StunAttribute.username, "abcd:efgh")
      .number(StunAttribute.priority, 1)
      .finish(password)

  it("refuses another length, another cookie, and the upper two bits", () => {
    const message = well()
    const changed = (position: number, value: number) => {
      const copy = message.slice()
      copy[position] = value
      return copy
    }

    assert.isDefined(parseStun(message))
    assert.isUndefined(parseStun(message.slice(0, -1)))
    assert.isUndefined(parseStun(message.slice(0, -4)))
    assert.isUndefined(parseStun(Uint8Array.of(...message, 0, 0, 0, 0)))
    assert.isUndefined(parseStun(changed(0, 0x40)))
    assert.isUndefined(parseStun(changed(7, 0x43)))
    assert.isFalse(looksLikeStun(changed(7, 0x43)))
    assert.isUndefined(parseStun(new Uint8Array(0)))
  })

  /** All before the fingerprint but the lengths of the first two attributes. */
  const fingerprinted = Array.from({ length: 68 }, (_, at) => at).filter((at) => ![22, 23, 38, 39].includes(at))

  it.prop(
    "refuses every bent message that still has a fingerprint",
    [integer(0, fingerprinted.length - 1), integer(1, 255)],
    ([index, flip]) => {
      const message = well()
      assert.strictEqual(message.length, 76)
      message[fingerprinted[index]!]! ^= flip

      assert.isUndefined(parseStun(message))
    }
  )

  it("trusts nothing of a message whose first attribute was bent to take in all others", () => {
    const message = well()
    message[23] = message.length - 24

    assert.deepStrictEqual(parseStun(message)?.types(), [StunAttribute.username])
    assert.isFalse(parseStun(message)?.verify(password))
  })

  it.prop("finds every bent byte by the key", [integer(8, 67), integer(1, 255)], ([position, flip]) => {
    const message = new StunWriter("request", StunMethod.binding, transaction)
      .text(StunAttribute.software, "some text to bend.")
      .finish(password, false)
    // Not the attribute's type and length.
    if (position >= 20 && position < 24) return
    message[position]! ^= flip

    assert.isFalse(parseStun(message)?.verify(password) ?? false)
  })

  it("does not believe what stands behind the integrity", () => {
    const message = new StunWriter("request", StunMethod.binding, transaction)
      .text(StunAttribute.username, "abcd:efgh")
      .value(StunAttribute.messageIntegrity, new Uint8Array(20))
      .flag(StunAttribute.useCandidate)
      .text(StunAttribute.username, "evil:evil")
      .finish()

    assert.isFalse(parsed(message).has(StunAttribute.useCandidate))
    assert.strictEqual(parsed(message).text(StunAttribute.username), "abcd:efgh")
  })

  it("takes the first of repeated attributes, and all relayed addresses", () => {
    const message = parsed(
      new StunWriter("success", StunMethod.allocate, transaction)
        .number(StunAttribute.lifetime, 600)
        .number(StunAttribute.lifetime, 1)
        .address(StunAttribute.xorRelayedAddress, at("192.0.2.7", 49152))
        .address(StunAttribute.xorRelayedAddress, at("2001:db8::7", 49153))
        .finish()
    )

    assert.strictEqual(message.number(StunAttribute.lifetime), 600)
    assert.deepStrictEqual(message.addresses(StunAttribute.xorRelayedAddress).map(formatTransport), [
      "192.0.2.7:49152",
      "[2001:db8::7]:49153"
    ])
  })

  it("gives nothing for attributes of a wrong shape", () => {
    const message = parsed(
      new StunWriter("error", StunMethod.allocate, transaction)
        .value(StunAttribute.priority, new Uint8Array(3))
        .value(StunAttribute.xorMappedAddress, hex("0003a147e112a643"))
        .value(StunAttribute.xorRelayedAddress, hex("0002a147e112a643"))
        .value(StunAttribute.xorPeerAddress, new Uint8Array(7))
        .value(StunAttribute.errorCode, hex("00000763"))
        .finish()
    )

    assert.isUndefined(message.number(StunAttribute.priority))
    assert.isUndefined(message.address(StunAttribute.xorMappedAddress))
    assert.deepStrictEqual(message.addresses(StunAttribute.xorRelayedAddress), [])
    assert.isUndefined(message.address(StunAttribute.xorPeerAddress))
    assert.isUndefined(message.error())
    assert.isFalse(message.hasIntegrity)
    assert.isFalse(message.verify(password))
  })

  it("refuses more attributes than any message has", () => {
    const of = (count: number) => {
      const writer = new StunWriter("request", StunMethod.binding, transaction)
      for (let i = 0; i < count; i++) writer.flag(StunAttribute.useCandidate)
      return writer.finish(undefined, false)
    }

    assert.isDefined(parseStun(of(32)))
    assert.isUndefined(parseStun(of(33)))
  })

  const exercise = (message: StunMessage | undefined) => {
    for (const type of Object.values(StunAttribute)) {
      message?.text(type)
      message?.number(type)
      message?.address(type)
      message?.addresses(type)
    }
    message?.error()
    message?.verify(password)
    return message
  }

  it.prop("never throws, whatever the bytes", [bytes(200)], ([junk]) => {
    exercise(parseStun(junk))
  })

  it.prop("never throws on a STUN header with any attributes", [bytes(48)], ([body]) => {
    const message = new Uint8Array(20 + (body.length & ~3))
    message.set([0, 1, 0, body.length & ~3, 0x21, 0x12, 0xa4, 0x42])
    message.set(body.subarray(0, body.length & ~3), 20)
    // Lengths that can fit, so that many are read to their end.
    for (let i = 22; i < message.length; i += 8) message.set([0, message[i + 1]! & 7], i)

    exercise(parseStun(message))
  })

  it.prop("never throws on a bent message", [integer(0, 91), byte], ([position, value]) => {
    const message = vectors.longTerm.slice()
    message[position] = value

    exercise(parseStun(message))
  })
})

const stunClass = integer(0, 3).pipe(
  Arbitrary.map((n): StunClass => (["request", "indication", "success", "error"] as const)[n]!)
)
const address = Arbitrary.all([integer(0, 1), host4, host6, port]).pipe(
  Arbitrary.map(([v6, four, six, on]) => at(v6 === 1 ? six : four, on))
)

describe("writing a STUN message", () => {
  it.prop(
    "round-trips classes, methods and values",
    [stunClass, integer(0, 0xfff), address, bytes(300), integer(0, 0xffffffff), integer(300, 699)],
    ([kind, method, peer, data, number, code]) => {
      const message = parsed(
        new StunWriter(kind, method, transaction)
          .value(StunAttribute.nonce, data)
          .address(StunAttribute.xorPeerAddress, peer)
          .number(StunAttribute.lifetime, number)
          .error(code, "Grund: …")
          .flag(StunAttribute.useCandidate)
          .finish(password)
      )

      assert.strictEqual(message.class, kind)
      assert.strictEqual(message.method, method)
      assert.deepStrictEqual(message.transaction, transaction)
      assert.deepStrictEqual(message.value(StunAttribute.nonce), data)
      assert.deepStrictEqual(message.address(StunAttribute.xorPeerAddress), peer)
      assert.strictEqual(message.number(StunAttribute.lifetime), number)
      assert.deepStrictEqual(message.error(), { code, reason: "Grund: …" })
      assert.isTrue(message.has(StunAttribute.useCandidate))
      assert.isTrue(message.verify(password))
    }
  )

  it("writes the numbers of TURN in their places", () => {
    const message = parsed(
      new StunWriter("request", StunMethod.allocate, transaction)
        .requestedTransport()
        .addressFamily(StunAttribute.additionalAddressFamily, AddressFamily.ipv6)
        .channelNumber(0x4001)
        .finish(undefined, false)
    )

    assert.deepStrictEqual(message.value(StunAttribute.requestedTransport), hex("11000000"))
    assert.deepStrictEqual(message.value(StunAttribute.additionalAddressFamily), hex("02000000"))
    assert.deepStrictEqual(message.value(StunAttribute.channelNumber), hex("40010000"))
  })
})

describe("beside another implementation (werift)", () => {
  it.prop("reads what it wrote", [address, integer(0, 0xffffffff)], ([peer, priority]) => {
    const text = formatTransport(peer)
    const host = text.slice(0, text.lastIndexOf(":")).replaceAll(/[[\]]/g, "")
    const foreign = new Message(1, 0x100, Buffer.from(transaction))
      .setAttribute("XOR-MAPPED-ADDRESS", [host, peer.port])
      .setAttribute("PRIORITY", priority)
      .setAttribute("ERROR-CODE", [437, "Allocation Mismatch"])
      .setAttribute("ICE-CONTROLLING", 0x0102030405060708n)
      .addMessageIntegrity(Buffer.from(password))
      .addFingerprint()

    const message = parsed(foreign.bytes)

    assert.strictEqual(message.class, "success")
    assert.deepStrictEqual(message.address(StunAttribute.xorMappedAddress), peer)
    assert.strictEqual(message.number(StunAttribute.priority), priority)
    assert.deepStrictEqual(message.error(), { code: 437, reason: "Allocation Mismatch" })
    assert.deepStrictEqual(message.value(StunAttribute.iceControlling), hex("0102030405060708"))
    assert.isTrue(message.verify(password))
  })

  it.prop("writes what it reads", [address, integer(0, 0xffffffff)], ([peer, priority]) => {
    const message = new StunWriter("request", StunMethod.channelBind, transaction)
      .text(StunAttribute.username, "user")
      .address(StunAttribute.xorPeerAddress, peer)
      .number(StunAttribute.priority, priority)
      .channelNumber(0x4abc)
      .flag(StunAttribute.useCandidate)
      .finish(password)

    const foreign = parseMessage(Buffer.from(message), Buffer.from(password))

    assert.isDefined(foreign)
    assert.strictEqual(foreign.messageMethod, StunMethod.channelBind)
    assert.strictEqual(foreign.getAttributeValue("USERNAME"), "user")
    const [host, on] = foreign.getAttributeValue("XOR-PEER-ADDRESS")
    assert.deepStrictEqual(at(host, on), peer)
    assert.strictEqual(foreign.getAttributeValue("PRIORITY"), priority)
    assert.strictEqual(foreign.getAttributeValue("CHANNEL-NUMBER"), 0x4abc)
    assert.isNull(foreign.getAttributeValue("USE-CANDIDATE"))
  })
})
