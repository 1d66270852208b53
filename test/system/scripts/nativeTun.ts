/**
 * Runs inside a network namespace and prints one JSON value: what happened in the named scenario. A program of its own,
 * since a Node process cannot move into a namespace.
 */
import { execFile, execFileSync } from "node:child_process"
import { createHash } from "node:crypto"
import { connect, createServer } from "node:net"
import { makeNativeChecksum } from "../../../layers/dataplane/native/checksum.ts"
import { close, openEventFd, openTun, openUdp } from "../../../layers/dataplane/native/fds.ts"
import { makeMemory } from "../../../layers/dataplane/native/memory.ts"
import { NativeError } from "../../../layers/dataplane/native/nativeError.ts"
import { makePacketIo } from "../../../layers/dataplane/native/packetIo.ts"
import { Coalescer } from "../../../src/dataplane/offload/coalescer.ts"
import { Segmenter } from "../../../src/dataplane/offload/segmenter.ts"
import { parseAddress } from "../../../src/packet/address.ts"
import { makeEndpoint } from "../../../src/packet/endpoint.ts"
import { makePacketView, parsePacket } from "../../../src/packet/packetView.ts"

const run = (command: string, ...args: ReadonlyArray<string>): string =>
  execFileSync(command, args, { encoding: "utf8", timeout: 10_000 })

const memory = makeMemory(4)
const bytes = memory.arena.bytes
const at = memory.arena.reserve(4096)

const opened = (
  name: string,
  options: { vnetHeader: boolean; udp4?: number; udpSegment?: boolean } = { vnetHeader: false }
) => {
  const tun = openTun(name, options)
  if (tun instanceof NativeError) throw new Error(tun.message)
  const event = openEventFd()
  if (event instanceof NativeError) throw new Error(event.message)
  return { ...tun, io: makePacketIo({ memory, tun: tun.fd, udp4: -1, udp6: -1, event, ...options }) }
}

const up = (name: string): void => {
  run("ip", "address", "add", "10.9.0.1/24", "dev", name)
  run("ip", "link", "set", name, "up")
}

/** Turns the IPv4 echo request in the arena into its reply: addresses swapped, type 8 → 0 (checksum + 0x0800). */
const answer = (): void => {
  for (let i = 0; i < 4; i++) {
    const source = bytes[at + 12 + i]!
    bytes[at + 12 + i] = bytes[at + 16 + i]!
    bytes[at + 16 + i] = source
  }
  bytes[at + 20] = 0
  const sum = ((bytes[at + 22]! << 8) | bytes[at + 23]!) + 0x0800
  const folded = (sum & 0xffff) + (sum >>> 16)
  bytes[at + 22] = folded >>> 8
  bytes[at + 23] = folded & 0xff
}

const superAt = memory.arena.reserve(65_536 + 256) + 64
const segmentsAt = memory.arena.reserve(1 << 20)

/**
 * Sends back what the kernel routes into the device with its addresses exchanged: to programs it looks like a host that
 * talks to them from 10.9.0.2 or fd09::2. Super-packets are cut as the gateway does, and joined again.
 */
const makeReflector = (device: ReturnType<typeof opened>) => {
  const { io } = device
  const view = makePacketView()
  const { checksum } = makeNativeChecksum(memory)
  const segmenter = new Segmenter(bytes, checksum)
  const counts = { superIn: 0, segments: 0, superOut: 0, written: 0, failed: 0, kinds: new Set<number>() }
  const coalescer = new Coalescer(bytes, checksum, (gathered) => {
    if (gathered.parts > 1) counts.superOut++
    if (io.writeGathered(gathered)) counts.written += gathered.parts
    else counts.failed += gathered.parts
  })
  coalescer.udp = device.offloads.udp
  const joins = device.offloads.tcp
  let top = segmentsAt
  const pass = (from: number, length: number): void => {
    bytes.copyWithin(top, from, from + length)
    const size = bytes[top]! >>> 4 === 4 ? 4 : 16
    const source = top + (size === 4 ? 12 : 8)
    const swapped = bytes.slice(source, source + size)
    bytes.copyWithin(source, source + size, source + 2 * size)
    bytes.set(swapped, source + size)
    if (parsePacket(bytes, top, length, view) !== 0) throw new Error("the kernel sent no packet")
    if (joins) coalescer.add(view)
    else if (io.writeTun(top, length)) counts.written++
    else counts.failed++
    top += (length + 63) & ~63
  }
  const turn = (): void => {
    io.poll(0)
    for (let reads = 0; reads < 8; reads++) {
      const length = io.readTun(superAt, 65_536)
      if (length === 0) break
      const header = io.tunHeader
      if (parsePacket(bytes, superAt, length, view) !== 0) throw new Error("the kernel sent no packet")
      if (header.kind === 0) {
        if (header.partial) {
          const field = superAt + header.checksumStart + header.checksumOffset
          const sum = ~checksum(superAt + header.checksumStart, length - header.checksumStart, 0) & 0xffff
          bytes[field] = sum >>> 8
          bytes[field + 1] = sum & 255
        }
        pass(superAt, length)
      } else {
        counts.superIn++
        counts.kinds.add(header.kind)
        if (!segmenter.begin(view, header)) throw new Error("the kernel sent a super-packet that cannot be cut")
        while (segmenter.next()) {
          counts.segments++
          pass(segmenter.offset, segmenter.length)
        }
      }
      coalescer.flush()
      top = segmentsAt
    }
  }
  let going = true
  const loop = (): void => {
    if (!going) return
    turn()
    setImmediate(loop)
  }
  loop()
  return {
    turn,
    stop: () => {
      going = false
      return { ...counts, kinds: [...counts.kinds] }
    }
  }
}

const dual = (name: string): void => {
  run("ip", "address", "add", "fd09::1/64", "dev", name, "nodad")
  run("ip", "link", "set", name, "mtu", "1280")
  up(name)
}

/** 20 MB from a client in this namespace to a server in it, both of which think that the other is beyond the device. */
const transfer = (address: string, server: string): Promise<{ readonly bytes: number; readonly same: boolean }> =>
  new Promise((resolve, reject) => {
    const data = Buffer.alloc(20_000_000)
    for (let i = 0; i < data.length; i += 4) data.writeUInt32LE(Math.imul(i, 2_654_435_761) >>> 0, i)
    let result = { bytes: 0, same: false }
    const listener = createServer((socket) => {
      const hash = createHash("sha256")
      let length = 0
      socket.on("data", (chunk) => {
        length += chunk.length
        hash.update(chunk)
      })
      socket.on("end", () => {
        result = { bytes: length, same: hash.digest("hex") === createHash("sha256").update(data).digest("hex") }
        listener.close()
      })
    })
    listener.listen(5201, server, () =>
      connect(5201, address)
        .on("error", reject)
        .on("close", () => resolve(result))
        .end(data)
        .resume()
    )
  })

const scenarios: Record<string, () => unknown> = {
  /** TCP over both families and a batch of UDP through the device, with virtio header and without. */
  ...Object.fromEntries(
    [true, false].map((vnetHeader) => [
      vnetHeader ? "superPackets" : "plainPackets",
      async () => {
        const device = opened("spsuper%d", { vnetHeader })
        dual(device.name)
        const reflector = makeReflector(device)
        const four = await transfer("10.9.0.2", "10.9.0.1")
        const six = await transfer("fd09::2", "fd09::1")
        return { offloads: device.offloads, four, six, ...reflector.stop(), drops: device.io.drops }
      }
    ])
  ),
  /** 40 datagrams in one send through the device and back to a socket that gathers. */
  datagrams: () => {
    const sender = openUdp({ family: 4, port: 0 })
    const receiver = openUdp({ family: 4, port: 0, gro: true })
    if (sender instanceof NativeError || receiver instanceof NativeError) throw new Error("no socket")
    const device = opened("spudp%d", { vnetHeader: true, udp4: sender.fd, udpSegment: true })
    dual(device.name)
    const reflector = makeReflector(device)
    const receiving = makePacketIo({ memory, tun: -1, udp4: receiver.fd, udp6: -1, event: -1 })
    const to = makeEndpoint()
    Object.assign(to.remote, parseAddress("10.9.0.2"))
    to.port = receiver.port
    const outAt = memory.arena.reserve(65_536)
    for (let i = 0; i < 40 * 1_200; i++) bytes[outAt + i] = (i * 7 + (i >> 8)) & 255
    const sent = device.io.send(to, outAt, 40 * 1_200 - 5, 1_200, 0)
    const inAt = memory.arena.reserve(65_536)
    const sizes: Array<number> = []
    let received = 0
    let same = true
    for (const end = performance.now() + 5_000; received < 40 * 1_200 - 5 && performance.now() < end;) {
      reflector.turn()
      receiving.poll(5)
      const length = receiving.receive(inAt, 65_536, makeEndpoint())
      if (length === 0) continue
      for (let i = 0; i < length; i++) same &&= bytes[inAt + i] === bytes[outAt + received + i]
      received += length
      sizes.push(receiving.segmentSize())
    }
    return { offloads: device.offloads, sent, received, same, sizes: [...new Set(sizes)], ...reflector.stop() }
  },
  /** A batch of datagrams that are longer than the device takes. */
  longDatagrams: () => {
    run("ip", "link", "set", "lo", "mtu", "1280", "up")
    const sender = openUdp({ family: 4, port: 0 })
    const receiver = openUdp({ family: 4, port: 0 })
    if (sender instanceof NativeError || receiver instanceof NativeError) throw new Error("no socket")
    const io = makePacketIo({ memory, tun: -1, udp4: sender.fd, udp6: -1, event: -1, udpSegment: true })
    const receiving = makePacketIo({ memory, tun: -1, udp4: receiver.fd, udp6: -1, event: -1 })
    const to = makeEndpoint()
    Object.assign(to.remote, parseAddress("127.0.0.1"))
    to.port = receiver.port
    const sent = [io.send(to, superAt, 5_000, 1_452, 0), io.send(to, superAt, 5_000, 1_452, 0)]
    const sizes: Array<number> = []
    while (receiving.poll(500)) sizes.push(receiving.receive(superAt, 65_536, makeEndpoint()))
    return { sent, sizes, drops: io.drops }
  },
  /** Answers pings to 10.9.0.2 until three were answered. */
  echo: async () => {
    const { fd, io, name } = opened("specho%d")
    up(name)
    const pinged = new Promise<string>((resolve) => {
      execFile("ping", ["-c", "3", "-i", "0.1", "-W", "2", "10.9.0.2"], { timeout: 10_000 }, (_, stdout) =>
        resolve(stdout)
      )
    })
    let answered = 0
    let emptyAfterAll = -1
    while (answered < 3) {
      io.poll(20)
      for (;;) {
        const length = io.readTun(at, 2048)
        if (length === 0) break
        if (bytes[at]! >>> 4 !== 4 || bytes[at + 9] !== 1 || bytes[at + 20] !== 8) continue
        answer()
        if (io.writeTun(at, length)) answered++
      }
      await new Promise((resolve) => setImmediate(resolve))
    }
    emptyAfterAll = io.readTun(at, 2048)
    const output = await pinged
    close(fd)
    return {
      name,
      emptyAfterAll,
      lost: /(\d+)% packet loss/.exec(output)?.[1],
      gone: !run("ip", "link").includes(name)
    }
  },
  /** Opens the same device twice, then one whose name a bridge has. */
  taken: () => {
    opened("spsame0")
    const again = openTun("spsame0", { vnetHeader: false })
    run("ip", "link", "add", "spbridge0", "type", "bridge")
    const bridge = openTun("spbridge0", { vnetHeader: false })
    return [again, bridge]
  },
  /** Writes while the device is down, writes junk, then deletes the device under the descriptor. */
  broken: () => {
    const { io, name } = opened("spbroken0")
    bytes[at] = 0x45
    const down = io.writeTun(at, 40)
    up(name)
    bytes[at] = 0xf5
    const junk = io.writeTun(at, 40)
    while (io.readTun(at, 2048) > 0);
    const before = io.fault()
    run("ip", "link", "delete", name)
    const ready = io.poll(1000)
    return { down, junk, before, ready, fault: io.fault(), idle: io.poll(10), drops: io.drops }
  },
  open: () => openTun("spopen0", { vnetHeader: false })
}

process.stdout.write(JSON.stringify(await scenarios[process.argv[2]!]!()))
