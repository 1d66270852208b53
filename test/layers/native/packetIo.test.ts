import { assert, describe, it } from "@effect/vitest"
import { afterEach } from "vitest"
import { close, openEventFd, openUdp, signalEventFd } from "../../../layers/native/fds.ts"
import { makeMemory } from "../../../layers/native/memory.ts"
import { NativeError } from "../../../layers/native/nativeError.ts"
import { makePacketIo } from "../../../layers/native/packetIo.ts"
import { formatAddress, parseAddress } from "../../../src/packet/address.ts"
import { type Endpoint, makeEndpoint } from "../../../src/packet/endpoint.ts"

const memory = makeMemory(1)
const bytes = memory.arena.bytes
const outAt = memory.arena.reserve(65536)
const inAt = memory.arena.reserve(65536)
const opened: Array<number> = []

afterEach(() => {
  for (const fd of opened.splice(0)) close(fd)
})

const ok = <A>(value: A | NativeError): A => {
  if (value instanceof NativeError) throw new Error(value.message)
  return value
}

const makePeer = (families: ReadonlyArray<4 | 6> = [4, 6]) => {
  const socket = (family: 4 | 6) => {
    if (!families.includes(family)) return { fd: -1, port: 0 }
    const udp = ok(openUdp({ family, port: 0 }))
    opened.push(udp.fd)
    return udp
  }
  const udp4 = socket(4)
  const udp6 = socket(6)
  const event = ok(openEventFd())
  opened.push(event)
  const io = makePacketIo({ memory, tun: -1, udp4: udp4.fd, udp6: udp6.fd, event })
  return { io, port4: udp4.port, port6: udp6.port, event }
}

const endpoint = (address: string, port: number, local = "::", interfaceIndex = 0): Endpoint => ({
  remote: parseAddress(address)!,
  port,
  local: parseAddress(local)!,
  interfaceIndex
})

const put = (text: string): number => {
  const encoded = new TextEncoder().encode(text)
  bytes.set(encoded, outAt)
  return encoded.length
}

const text = (length: number): string => new TextDecoder().decode(bytes.slice(inAt, inAt + length))

describe("packetIo over loopback sockets", () => {
  for (const [family, address] of [
    [4, "127.0.0.1"],
    [6, "::1"]
  ] as const) {
    it(`carries an IPv${family} datagram there and back and tells both of its ends`, () => {
      const a = makePeer()
      const b = makePeer()
      const portOf = (peer: typeof a) => (family === 4 ? peer.port4 : peer.port6)
      const from = makeEndpoint()

      assert.isTrue(a.io.send(endpoint(address, portOf(b)), outAt, put("hello"), 5))
      assert.isTrue(b.io.poll(1000))
      const length = b.io.receive(inAt, 2048, from)

      assert.strictEqual(text(length), "hello")
      assert.strictEqual(b.io.segmentSize(), 5)
      assert.strictEqual(formatAddress(from.remote), address)
      assert.strictEqual(from.port, portOf(a))
      assert.strictEqual(formatAddress(from.local), address)
      assert.strictEqual(from.interfaceIndex, 1)
      assert.isTrue(b.io.send(from, outAt, put("back"), 4))
      assert.isTrue(a.io.poll(1000))
      assert.strictEqual(text(a.io.receive(inAt, 2048, from)), "back")
    })
  }

  it("answers from the address that was addressed, not from the one routing would choose", () => {
    const a = makePeer()
    const b = makePeer()
    const from = makeEndpoint()
    a.io.send(endpoint("127.7.7.7", b.port4), outAt, put("x"), 1)
    b.io.poll(1000)
    b.io.receive(inAt, 2048, from)
    assert.strictEqual(formatAddress(from.local), "127.7.7.7")

    b.io.send(from, outAt, put("y"), 1)

    a.io.poll(1000)
    a.io.receive(inAt, 2048, from)
    assert.strictEqual(formatAddress(from.remote), "127.7.7.7")
  })

  for (const [to, gone] of [
    ["127.0.0.1", "192.0.2.77"],
    ["::1", "2001:db8::77"]
  ] as const) {
    it(`sends from another address when ${gone} is no longer the host's, and counts that`, () => {
      const a = makePeer()
      const b = makePeer()
      const port = to === "::1" ? b.port6 : b.port4

      assert.isTrue(a.io.send(endpoint(to, port, gone), outAt, put("still"), 5))

      assert.isTrue(b.io.poll(1000))
      const from = makeEndpoint()
      assert.strictEqual(text(b.io.receive(inAt, 2048, from)), "still")
      assert.strictEqual(formatAddress(from.remote), to)
      assert.strictEqual(a.io.drops.sendUnpinned, 1)
      // The next send of another endpoint is pinned again.
      assert.isTrue(a.io.send(endpoint(to, port, to), outAt, put("z"), 1))
      assert.strictEqual(a.io.drops.sendUnpinned, 1)
    })
  }

  it("splits a run into datagrams of the segment size, the last one shorter", () => {
    const a = makePeer()
    const b = makePeer()

    assert.isTrue(a.io.send(endpoint("127.0.0.1", b.port4), outAt, put("aaabbbc"), 3))

    const from = makeEndpoint()
    const seen: Array<string> = []
    while (seen.length < 3 && b.io.poll(1000)) seen.push(text(b.io.receive(inAt, 2048, from)))
    assert.deepStrictEqual(seen, ["aaa", "bbb", "c"])
  })

  it("reads both families although one never runs dry", () => {
    const a = makePeer()
    const b = makePeer()
    for (let i = 0; i < 8; i++) a.io.send(endpoint("127.0.0.1", b.port4), outAt, put("4"), 1)
    a.io.send(endpoint("::1", b.port6), outAt, put("6"), 1)

    const from = makeEndpoint()
    const seen: Array<string> = []
    for (let i = 0; i < 3; i++) seen.push(text(b.io.receive(inAt, 2048, from)))

    assert.include(seen, "6")
  })

  it("skips empty and overlong datagrams and counts the latter", () => {
    const a = makePeer()
    const b = makePeer()
    const to = endpoint("127.0.0.1", b.port4)
    a.io.send(to, outAt, 0, 1)
    a.io.send(to, outAt, 600, 600)
    a.io.send(to, outAt, put("good"), 4)

    const length = b.io.receive(inAt, 512, makeEndpoint())

    assert.strictEqual(text(length), "good")
    assert.strictEqual(b.io.drops.receiveTruncated, 1)
    assert.strictEqual(b.io.receive(inAt, 512, makeEndpoint()), 0)
  })

  it("drops, with a count per cause, what cannot be sent", () => {
    const only4 = makePeer([4])

    assert.isFalse(only4.io.send(endpoint("::1", 9), outAt, 10, 10))
    assert.isFalse(only4.io.send(endpoint("127.0.0.1", 9), outAt, 65530, 65530))
    assert.isFalse(only4.io.send(endpoint("127.0.0.1", 0), outAt, 10, 10))
    assert.isFalse(only4.io.send(endpoint("255.255.255.255", 9), outAt, 10, 10))

    assert.strictEqual(only4.io.drops.sendNoSocket, 1)
    assert.strictEqual(only4.io.drops.sendTooLong, 1)
    assert.strictEqual(only4.io.drops.sendUnreachable + only4.io.drops.sendRefused, 2)
    assert.strictEqual(only4.io.writeTun(outAt, 20), false)
    assert.strictEqual(only4.io.readTun(inAt, 2048), 0)
  })

  it("keeps going after it ran dry without a poll in between", () => {
    const a = makePeer()
    const b = makePeer()
    assert.strictEqual(b.io.receive(inAt, 2048, makeEndpoint()), 0)

    a.io.send(endpoint("127.0.0.1", b.port4), outAt, put("late"), 4)

    assert.strictEqual(text(b.io.receive(inAt, 2048, makeEndpoint())), "late")
  })
})

describe("the event descriptor", () => {
  it("ends a poll, once however often it was signalled", () => {
    const peer = makePeer()
    signalEventFd(peer.event)
    signalEventFd(peer.event)

    assert.isTrue(peer.io.poll(1000))
    assert.isTrue(peer.io.drainEvent())
    assert.isFalse(peer.io.drainEvent())
    assert.isFalse(peer.io.poll(0))
  })

  it("is told apart from traffic", () => {
    const a = makePeer()
    const b = makePeer()
    a.io.send(endpoint("127.0.0.1", b.port4), outAt, put("x"), 1)

    assert.isTrue(b.io.poll(1000))
    assert.isFalse(b.io.drainEvent())
  })

  it("that was closed under the poll is reported and never polled again", () => {
    const peer = makePeer()
    close(opened.pop()!)

    assert.isFalse(peer.io.poll(0))
    assert.match(peer.io.fault()!, /event descriptor is gone/)
    assert.isFalse(peer.io.poll(0))
  })
})
