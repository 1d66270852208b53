import { assert, describe, it } from "@effect/vitest"
import { afterEach } from "vitest"
import { close, openEventFd, openUdp, signalEventFd } from "../../../../layers/dataplane/native/fds.ts"
import { bind } from "../../../../layers/dataplane/native/ffi.ts"
import { makeMemory } from "../../../../layers/dataplane/native/memory.ts"
import { NativeError } from "../../../../layers/dataplane/native/nativeError.ts"
import { makePacketIo } from "../../../../layers/dataplane/native/packetIo.ts"
import { Coalescer, type Gathered } from "../../../../src/dataplane/offload/coalescer.ts"
import { formatAddress, parseAddress } from "../../../../src/packet/address.ts"
import { makeChecksum } from "../../../../src/packet/checksum.ts"
import { type Endpoint, makeEndpoint } from "../../../../src/packet/endpoint.ts"
import { makePacketView, parsePacket } from "../../../../src/packet/packetView.ts"
import { buildTcp, buildUdp } from "../../../support/packets.ts"

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

const makePeer = (
  families: ReadonlyArray<4 | 6> = [4, 6],
  batches: { readonly gro?: boolean; readonly gso?: boolean } = {}
) => {
  const socket = (family: 4 | 6) => {
    if (!families.includes(family)) return { fd: -1, port: 0 }
    const udp = ok(openUdp({ family, port: 0, gro: batches.gro === true }))
    assert.strictEqual(udp.gro, batches.gro === true)
    opened.push(udp.fd)
    return udp
  }
  const udp4 = socket(4)
  const udp6 = socket(6)
  const event = ok(openEventFd())
  opened.push(event)
  const io = makePacketIo({
    memory,
    tun: -1,
    udp4: udp4.fd,
    udp6: udp6.fd,
    event,
    udpSegment: batches.gso === true
  })
  return { io, port4: udp4.port, port6: udp6.port, fd4: udp4.fd, event }
}

const endpoint = (address: string, port: number, local = "::", interfaceIndex = 0): Endpoint => ({
  remote: parseAddress(address)!,
  port,
  local: parseAddress(local)!,
  interfaceIndex,
  channel: 0
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

      assert.isTrue(a.io.send(endpoint(address, portOf(b)), outAt, put("hello"), 5, 0))
      assert.isTrue(b.io.poll(1000))
      const length = b.io.receive(inAt, 2048, from)

      assert.strictEqual(text(length), "hello")
      assert.strictEqual(b.io.segmentSize(), 5)
      assert.strictEqual(formatAddress(from.remote), address)
      assert.strictEqual(from.port, portOf(a))
      assert.strictEqual(formatAddress(from.local), address)
      assert.strictEqual(from.interfaceIndex, 1)
      assert.isTrue(b.io.send(from, outAt, put("back"), 4, 0))
      assert.isTrue(a.io.poll(1000))
      assert.strictEqual(text(a.io.receive(inAt, 2048, from)), "back")
    })
  }

  for (const [address, family] of [
    ["127.0.0.1", 4],
    ["::1", 6]
  ] as const) {
    it(`carries the traffic class of a datagram and of a batch over IPv${family}, from an address or without`, () => {
      const a = makePeer([4, 6], { gso: true })
      const b = makePeer([4, 6], { gro: true })
      const from = makeEndpoint()
      const port = family === 4 ? b.port4 : b.port6
      const seen: Array<readonly [length: number, size: number, trafficClass: number]> = []
      const sent = [
        [600, 600, 0],
        [600, 600, 0xb9],
        [600, 200, 0x03],
        [600, 200, 0]
      ] as const

      for (const to of [endpoint(address, port), endpoint(address, port, address)]) {
        for (const [length, size, trafficClass] of sent) {
          assert.isTrue(a.io.send(to, outAt, length, size, trafficClass))
          assert.isTrue(b.io.poll(1000))
          seen.push([b.io.receive(inAt, 2048, from), b.io.segmentSize(), b.io.trafficClass()])
        }
      }

      assert.deepStrictEqual(seen, [...sent, ...sent])
    })
  }

  it("lets the system drop most handshake messages, of both families, and nothing else, until it is told otherwise", () => {
    const a = makePeer()
    const b = makePeer()
    const from = makeEndpoint()
    /** Bytes 0 of what comes of `count` messages each whose first words are these, over IPv4 and IPv6. */
    const pass = (count: number, words: ReadonlyArray<ReadonlyArray<number>>, end = 0): ReadonlyArray<number> => {
      const received: Array<number> = []
      for (const [address, port] of [
        ["127.0.0.1", b.port4],
        ["::1", b.port6]
      ] as const) {
        for (let i = 0; i < count; i++) {
          for (const word of words) {
            bytes.fill(0, outAt, outAt + 148)
            bytes.set(word, outAt)
            bytes[outAt + 147] = end
            a.io.send(endpoint(address, port), outAt, 148, 148, 0)
            while (b.io.receive(inAt, 2048, from) > 0) received.push(bytes[inAt]!)
          }
        }
      }
      return received
    }
    const handshakes = [[1], [2], [3]]
    // Transport data, STUN's request and answer, ChannelData.
    const others = [[4], [0, 1], [1, 1], [0x40, 0]]

    b.io.shedHandshakes(4)
    assert.lengthOf(pass(20, others), 20 * 2 * others.length)
    const some = pass(200, handshakes)
    b.io.shedHandshakes(2)
    const withCookie = pass(200, [[1]], 1)
    b.io.shedHandshakes(0)

    assert.isAtLeast(some.length, 20)
    assert.isAtMost(some.length, 200)
    assert.lengthOf(withCookie, 400)
    assert.lengthOf(pass(20, handshakes), 20 * 2 * handshakes.length)
  })

  it("is told nothing of what an earlier worker had the system drop", () => {
    const a = makePeer()
    const b = makePeer()
    const from = makeEndpoint()
    b.io.shedHandshakes(6)
    const again = makePacketIo({ memory, tun: -1, udp4: b.fd4, udp6: -1, event: -1 })

    bytes.fill(0, outAt, outAt + 148)
    bytes[outAt] = 1
    for (let i = 0; i < 50; i++) a.io.send(endpoint("127.0.0.1", b.port4), outAt, 148, 148, 0)
    let received = 0
    while (again.receive(inAt, 2048, from) > 0) received++

    assert.strictEqual(received, 50)
  })

  it("answers from the address that was addressed, not from the one routing would choose", () => {
    const a = makePeer()
    const b = makePeer()
    const from = makeEndpoint()
    a.io.send(endpoint("127.7.7.7", b.port4), outAt, put("x"), 1, 0)
    b.io.poll(1000)
    b.io.receive(inAt, 2048, from)
    assert.strictEqual(formatAddress(from.local), "127.7.7.7")

    b.io.send(from, outAt, put("y"), 1, 0)

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

      assert.isTrue(a.io.send(endpoint(to, port, gone), outAt, put("still"), 5, 0))

      assert.isTrue(b.io.poll(1000))
      const from = makeEndpoint()
      assert.strictEqual(text(b.io.receive(inAt, 2048, from)), "still")
      assert.strictEqual(formatAddress(from.remote), to)
      assert.strictEqual(a.io.drops.sendUnpinned, 1)
      // The next send of another endpoint is pinned again.
      assert.isTrue(a.io.send(endpoint(to, port, to), outAt, put("z"), 1, 0))
      assert.strictEqual(a.io.drops.sendUnpinned, 1)
    })
  }

  it("splits a run into datagrams of the segment size, the last one shorter", () => {
    const a = makePeer()
    const b = makePeer()

    assert.isTrue(a.io.send(endpoint("127.0.0.1", b.port4), outAt, put("aaabbbc"), 3, 0))

    const from = makeEndpoint()
    const seen: Array<string> = []
    while (seen.length < 3 && b.io.poll(1000)) seen.push(text(b.io.receive(inAt, 2048, from)))
    assert.deepStrictEqual(seen, ["aaa", "bbb", "c"])
  })

  it("reads both families although one never runs dry", () => {
    const a = makePeer()
    const b = makePeer()
    for (let i = 0; i < 8; i++) a.io.send(endpoint("127.0.0.1", b.port4), outAt, put("4"), 1, 0)
    a.io.send(endpoint("::1", b.port6), outAt, put("6"), 1, 0)

    const from = makeEndpoint()
    const seen: Array<string> = []
    for (let i = 0; i < 3; i++) seen.push(text(b.io.receive(inAt, 2048, from)))

    assert.include(seen, "6")
  })

  it("skips empty and overlong datagrams and counts the latter", () => {
    const a = makePeer()
    const b = makePeer()
    const to = endpoint("127.0.0.1", b.port4)
    a.io.send(to, outAt, 0, 1, 0)
    a.io.send(to, outAt, 600, 600, 0)
    a.io.send(to, outAt, put("good"), 4, 0)

    const length = b.io.receive(inAt, 512, makeEndpoint())

    assert.strictEqual(text(length), "good")
    assert.strictEqual(b.io.drops.receiveTruncated, 1)
    assert.strictEqual(b.io.receive(inAt, 512, makeEndpoint()), 0)
  })

  it("drops, with a count per cause, what cannot be sent", () => {
    const only4 = makePeer([4])

    assert.isFalse(only4.io.send(endpoint("::1", 9), outAt, 10, 10, 0))
    assert.isFalse(only4.io.send(endpoint("127.0.0.1", 9), outAt, 65530, 65530, 0))
    assert.isFalse(only4.io.send(endpoint("127.0.0.1", 0), outAt, 10, 10, 0))
    assert.isFalse(only4.io.send(endpoint("255.255.255.255", 9), outAt, 10, 10, 0))

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

    a.io.send(endpoint("127.0.0.1", b.port4), outAt, put("late"), 4, 0)

    assert.strictEqual(text(b.io.receive(inAt, 2048, makeEndpoint())), "late")
  })
})

describe("batches over loopback sockets", () => {
  /** Reads until `datagrams` have come: their bytes, and the sizes of each read. */
  const readAll = (peer: ReturnType<typeof makePeer>, datagrams: number, from = makeEndpoint()) => {
    const seen: Array<string> = []
    const reads: Array<number> = []
    while (seen.length < datagrams && peer.io.poll(1000)) {
      for (let length = peer.io.receive(inAt, 65536, from); length > 0; length = peer.io.receive(inAt, 65536, from)) {
        const size = peer.io.segmentSize()
        reads.push(Math.ceil(length / size))
        for (let at = 0; at < length; at += size) {
          seen.push(Buffer.from(bytes.slice(inAt + at, inAt + Math.min(at + size, length))).toString("latin1"))
        }
      }
    }
    return { seen, reads }
  }

  const expected = (length: number, size: number): ReadonlyArray<string> =>
    Array.from({ length: Math.ceil(length / size) }, (_, i) =>
      Buffer.from(bytes.slice(outAt + i * size, outAt + Math.min((i + 1) * size, length))).toString("latin1")
    )

  const putNoise = (length: number): number => {
    for (let i = 0; i < length; i++) bytes[outAt + i] = (i * 31 + (i >> 8)) & 255
    return length
  }

  for (const [family, address] of [
    [4, "127.0.0.1"],
    [6, "::1"]
  ] as const) {
    const portOf = (peer: ReturnType<typeof makePeer>) => (family === 4 ? peer.port4 : peer.port6)

    it(`go over IPv${family} as one send and come as one read, sizes and both ends told`, () => {
      const a = makePeer([4, 6], { gso: true })
      const b = makePeer([4, 6], { gro: true })
      const from = makeEndpoint()
      const length = putNoise(43 * 1452 + 77)

      assert.isTrue(a.io.send(endpoint(address, portOf(b), address), outAt, length, 1452, 0))

      const { reads, seen } = readAll(b, 44, from)
      assert.deepStrictEqual(seen, expected(length, 1452))
      assert.deepStrictEqual(reads, [44])
      assert.strictEqual(from.port, portOf(a))
      assert.deepStrictEqual([formatAddress(from.remote), formatAddress(from.local)], [address, address])
      assert.strictEqual(a.io.drops.sendUnsegmented, 0)
    })

    it(`over IPv${family} reach a socket that does not gather as single datagrams`, () => {
      const a = makePeer([4, 6], { gso: true })
      const b = makePeer()
      const length = putNoise(10 * 200)

      assert.isTrue(a.io.send(endpoint(address, portOf(b)), outAt, length, 200, 0))

      const { reads, seen } = readAll(b, 10)
      assert.deepStrictEqual(seen, expected(length, 200))
      assert.deepStrictEqual(reads, Array(10).fill(1))
    })

    it(`over IPv${family} whose local address is gone leave from another one, still as one send`, () => {
      const a = makePeer([4, 6], { gso: true })
      const b = makePeer([4, 6], { gro: true })
      const gone = family === 4 ? "192.0.2.77" : "2001:db8::77"
      const length = putNoise(5 * 300)

      assert.isTrue(a.io.send(endpoint(address, portOf(b), gone), outAt, length, 300, 0))

      assert.deepStrictEqual(readAll(b, 5).reads, [5])
      assert.strictEqual(a.io.drops.sendUnpinned, 1)
      assert.strictEqual(a.io.drops.sendUnsegmented, 0)
    })
  }

  it("leave from the address that was addressed", () => {
    const a = makePeer([4, 6], { gso: true })
    const b = makePeer([4, 6], { gro: true })
    const from = makeEndpoint()

    a.io.send(endpoint("127.0.0.1", b.port4, "127.7.7.7"), outAt, putNoise(400), 100, 0)

    assert.deepStrictEqual(readAll(b, 4, from).reads, [4])
    assert.strictEqual(formatAddress(from.remote), "127.7.7.7")
  })

  it("and single datagrams may follow each other in any order", () => {
    const a = makePeer([4, 6], { gso: true })
    const b = makePeer([4, 6], { gro: true })
    const to = endpoint("127.0.0.1", b.port4, "127.0.0.1")
    putNoise(1000)

    for (const [length, size] of [
      [300, 300],
      [900, 300],
      [10, 10],
      [1000, 300]
    ] as const) {
      assert.isTrue(a.io.send(to, outAt, length, size, 0))
    }

    const { seen } = readAll(b, 9)
    assert.deepStrictEqual(
      seen.map((datagram) => datagram.length),
      [300, 300, 300, 300, 10, 300, 300, 300, 100]
    )
  })

  it("that the kernel refuses are delivered one by one, and that destination only gets no more of them", () => {
    const a = makePeer([4, 6], { gso: true })
    const b = makePeer([4, 6], { gro: true })
    const c = makePeer([4, 6], { gro: true })
    const length = putNoise(1000)
    // More segments than one send may have.
    assert.isTrue(a.io.send(endpoint("127.0.0.1", b.port4), outAt, 200, 1, 0))
    assert.deepStrictEqual(readAll(b, 200).seen, expected(200, 1))
    assert.strictEqual(a.io.drops.sendUnsegmented, 1)

    assert.isTrue(a.io.send(endpoint("127.0.0.1", b.port4), outAt, length, 100, 0))
    assert.isTrue(a.io.send(endpoint("127.0.0.1", c.port4), outAt, length, 100, 0))

    assert.deepStrictEqual(readAll(b, 10), { seen: [...expected(length, 100)], reads: Array(10).fill(1) })
    assert.deepStrictEqual(readAll(c, 10).reads, [10])
    assert.strictEqual(a.io.drops.sendUnsegmented, 1)
  })

  it("are tried again after 4,096 that were not", () => {
    const a = makePeer([4], { gso: true })
    const b = makePeer([4], { gro: true })
    const to = endpoint("127.0.0.1", b.port4)
    a.io.send(to, outAt, putNoise(200), 1, 0)
    const reads = new Set(readAll(b, 200).reads)
    for (let i = 0; i < 4095; i++) {
      a.io.send(to, outAt, 20, 10, 0)
      for (const read of readAll(b, 2).reads) reads.add(read)
    }
    assert.deepStrictEqual([...reads], [1])

    a.io.send(to, outAt, 20, 10, 0)

    assert.deepStrictEqual(readAll(b, 2).reads, [2])
  })

  it("are no longer tried at all for a while when more than 64 destinations refuse them", () => {
    const a = makePeer([4], { gso: true })
    const b = makePeer([4], { gro: true })
    putNoise(200)
    const refuse = (port: number) => a.io.send(endpoint("127.0.0.1", port), outAt, 200, 1, 0)
    const readsOf = () => {
      a.io.send(endpoint("127.0.0.1", b.port4), outAt, 20, 10, 0)
      return readAll(b, 2).reads
    }
    for (let i = 0; i < 64; i++) refuse(1_000 + i)
    assert.deepStrictEqual(readsOf(), [2])

    refuse(2_000)

    const reads = new Set(Array.from({ length: 4_096 }, () => readsOf().join(" ")))
    assert.deepStrictEqual([...reads], ["1 1"])
    assert.strictEqual(a.io.drops.sendUnsegmented, 65)
    assert.deepStrictEqual(readsOf(), [2])
    refuse(1_000)
    assert.strictEqual(a.io.drops.sendUnsegmented, 66)
  })

  it("that the system drops are told and counted", () => {
    const a = makePeer([4], { gso: true })
    putNoise(200)

    assert.isFalse(a.io.send(endpoint("255.255.255.255", 9), outAt, 200, 100, 0))
    assert.isFalse(a.io.send(endpoint("::1", 9), outAt, 200, 100, 0))

    assert.strictEqual(a.io.drops.sendRefused + a.io.drops.sendUnreachable, 1)
    assert.strictEqual(a.io.drops.sendNoSocket, 1)
    assert.strictEqual(a.io.drops.sendUnsegmented, 0)
  })
})

describe("super-packets that the device does not take", () => {
  /**
   * Stands in for a device: a socket that cuts what is written into datagrams of `size` bytes, at most 64 or 128 of them by
   * kernel, and refuses more with EINVAL. The other end puts them together again: `take` gives the next message without its
   * virtio header.
   */
  const makeDevice = (size: number) => {
    const setOption = bind("int setsockopt(int, int, int, uintptr_t, uint)")
    const connect = bind("int connect(int, uintptr_t, uint)")
    const [device, far] = [ok(openUdp({ family: 4, port: 0 })), ok(openUdp({ family: 4, port: 0, gro: true }))]
    const event = openEventFd()
    opened.push(device.fd, far.fd, ok(event))
    const view = new DataView(memory.memory.buffer, outAt)
    view.setInt32(0, size, true)
    assert.strictEqual(setOption(device.fd, 17, 103, memory.base + outAt, 4), 0)
    view.setUint16(0, 2, true)
    view.setUint16(2, far.port)
    view.setUint32(4, 0x7f000001)
    assert.strictEqual(connect(device.fd, memory.base + outAt, 16), 0)
    const io = makePacketIo({ memory, tun: device.fd, udp4: far.fd, udp6: -1, event: ok(event), vnetHeader: true })
    const take = (): string | null => {
      const length = io.poll(0) ? io.receive(inAt, 65_536, makeEndpoint()) : 0
      return length === 0 ? null : Buffer.from(bytes.slice(inAt + 10, inAt + length)).toString("hex")
    }
    return { io, take }
  }

  /** Three segments of a flow as the engine hands them over; and as they were. */
  const join = (protocol: "tcp" | "udp") => {
    const built = [0, 1, 2].map((i) =>
      protocol === "tcp"
        ? buildTcp({
            ...ends,
            flags: i === 2 ? 0x18 : 0x10,
            sequence: 1 + 300 * i,
            payload: new Uint8Array(300).fill(i)
          })
        : buildUdp({ ...ends, payload: new Uint8Array(300).fill(i) })
    )
    const view = makePacketView()
    let result: Gathered | undefined
    const coalescer = new Coalescer(bytes, makeChecksum(bytes), (gathered) => (result = gathered))
    for (const [i, packet] of built.entries()) {
      bytes.set(packet, outAt + 400 * i)
      parsePacket(bytes, outAt + 400 * i, packet.length, view)
      coalescer.add(view)
    }
    coalescer.flush()
    assert.strictEqual(result!.parts, 3)
    return { gathered: result!, packets: built.map((packet) => Buffer.from(packet).toString("hex")) }
  }
  const ends = {
    source: "10.0.0.1",
    destination: "10.1.0.1",
    sourcePort: 5_000,
    destinationPort: 443,
    dontFragment: true
  }

  it("are taken apart, in order and unchanged, and are no longer tried, but others are", () => {
    const { io, take } = makeDevice(6)
    const { gathered, packets } = join("tcp")

    assert.isTrue(io.writeGathered(gathered))
    assert.deepStrictEqual([take(), take(), take(), take()], [...packets, null])
    assert.isTrue(io.writeGathered(join("tcp").gathered))
    assert.deepStrictEqual([take(), take(), take(), take()], [...packets, null])
    assert.strictEqual(io.drops.tunWriteUnjoined, 1)
    assert.isTrue(io.writeGathered(join("udp").gathered))
    assert.strictEqual(io.drops.tunWriteUnjoined, 2)
    assert.strictEqual(io.drops.tunWriteRefused, 0)
  })

  it("are tried again after 4,096", () => {
    const { io, take } = makeDevice(6)
    for (let i = 0; i < 4_097; i++) {
      assert.isTrue(io.writeGathered(join("udp").gathered))
      while (take() !== null);
    }
    assert.strictEqual(io.drops.tunWriteUnjoined, 1)

    io.writeGathered(join("udp").gathered)

    assert.strictEqual(io.drops.tunWriteUnjoined, 2)
  })

  it("nor anything else, are lost, counted, and tried whole the next time", () => {
    const { io, take } = makeDevice(1)

    assert.isFalse(io.writeGathered(join("tcp").gathered))
    assert.isFalse(io.writeGathered(join("tcp").gathered))

    assert.isNull(take())
    assert.strictEqual(io.drops.tunWriteRefused, 2)
    assert.strictEqual(io.drops.tunWriteUnjoined, 0)
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
    a.io.send(endpoint("127.0.0.1", b.port4), outAt, put("x"), 1, 0)

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
