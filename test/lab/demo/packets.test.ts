import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import {
  ascii,
  type CapturedPacket,
  dnsHeader,
  handshakeMessage,
  ipView,
  ports,
  tcpData,
  udpData,
  unreachable
} from "../../../src/lab/demo/packets.ts"

const ipv4 = (
  protocol: number,
  source: ReadonlyArray<number>,
  destination: ReadonlyArray<number>,
  payload: Uint8Array
) =>
  Uint8Array.from([
    0x45,
    0,
    0,
    20 + payload.length,
    0,
    0,
    0,
    0,
    64,
    protocol,
    0,
    0,
    ...source,
    ...destination,
    ...payload
  ])

const udpDatagram = (from: number, to: number, data: Uint8Array) =>
  Uint8Array.from([
    from >>> 8,
    from & 255,
    to >>> 8,
    to & 255,
    (data.length + 8) >>> 8,
    (data.length + 8) & 255,
    0,
    0,
    ...data
  ])

const captured = (bytes: Uint8Array, snap = 256): CapturedPacket => ({
  at: 0,
  device: "outer",
  direction: "in",
  length: bytes.length,
  bytes: bytes.subarray(0, snap)
})

const client = [192, 0, 2, 2]
const gateway = [192, 0, 2, 1]

describe("packets of the story", () => {
  it("tells a WireGuard initiation from a response and from anything else by type and length", () => {
    const message = (type: number, length: number) => {
      const data = new Uint8Array(length)
      data[0] = type
      return captured(ipv4(17, client, gateway, udpDatagram(40000, 51820, data)), 60)
    }

    assert.strictEqual(handshakeMessage(message(1, 148)), 1)
    assert.strictEqual(handshakeMessage(message(2, 92)), 2)
    assert.isUndefined(handshakeMessage(message(1, 147)))
    assert.isUndefined(handshakeMessage(message(2, 148)))
    assert.isUndefined(handshakeMessage(message(4, 92)))
    assert.isUndefined(handshakeMessage(captured(ipv4(6, client, gateway, new Uint8Array(148)))))
  })

  it("reads an ICMP unreachable and the packet that it is about", () => {
    const syn = ipv4(6, [100, 64, 0, 2], [100, 96, 0, 0], Uint8Array.from([156, 64, 0, 80, ...new Uint8Array(16)]))
    const error = ipv4(1, [100, 96, 0, 0], [100, 64, 0, 2], Uint8Array.from([3, 0, 0, 0, 0, 0, 0, 0, ...syn]))

    const message = unreachable(ipView(error)!)

    assert.deepInclude(message, { type: 3, code: 0 })
    assert.strictEqual(message?.about?.destination, "100.96.0.0")
    assert.deepStrictEqual(ports(message!.about!), { from: 40000, to: 80 })
    assert.isUndefined(unreachable(ipView(ipv4(1, client, gateway, new Uint8Array(64)))!), "an echo reply is none")
  })

  it("reads IPv6 headers with canonical addresses", () => {
    const bytes = new Uint8Array(48)
    bytes[0] = 0x60
    bytes[6] = 17
    bytes.set([0xfd, 0x5a, 0, 1], 8)
    bytes[23] = 2
    bytes.set([0xfd, 0x5a, 0, 1], 24)
    bytes[39] = 1
    bytes.set([0, 53, 1, 0], 40)

    const ip = ipView(bytes)

    assert.deepInclude(ip, { version: 6, protocol: 17, source: "fd5a:1::2", destination: "fd5a:1::1" })
    assert.deepStrictEqual(ports(ip!), { from: 53, to: 256 })
  })

  it("finds the data of a TCP segment behind its options", () => {
    const header = new Uint8Array(24)
    header[12] = 6 << 4
    const segment = Uint8Array.from([...header, ...new TextEncoder().encode("HTTP/1.1")])

    assert.strictEqual(ascii(tcpData(ipView(ipv4(6, client, gateway, segment))!)), "HTTP/1.1")
    assert.strictEqual(tcpData(ipView(ipv4(6, client, gateway, header))!).length, 0)
  })

  it("pairs DNS questions with answers by id and response bit", () => {
    const header = Uint8Array.from([0x12, 0x34, 0x81, 0x80, 0, 1, 0, 2, 0, 0, 0, 0])

    assert.deepStrictEqual(dnsHeader(header), { id: 0x1234, response: true, answers: 2 })
    assert.isUndefined(dnsHeader(header.subarray(0, 11)))
  })

  it.prop("never throws, whatever is captured", [Schema.Array(Schema.Int)], ([numbers]) => {
    const bytes = Uint8Array.from(numbers)
    for (const first of [bytes, Uint8Array.from([0x45, ...bytes]), Uint8Array.from([0x60, ...bytes])]) {
      const ip = ipView(first)
      if (ip === undefined) continue
      ports(ip)
      tcpData(ip)
      unreachable(ip)
      dnsHeader(udpData(ip))
      handshakeMessage(captured(first))
    }
    return true
  })
})
