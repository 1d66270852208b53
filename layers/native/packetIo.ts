/**
 * `PacketIo` by system calls. Every structure that the kernel reads or fills (`msghdr`, `iovec`, control message, socket
 * address) is laid out once in the arena; a call patches addresses and lengths in place and allocates nothing.
 */
import type { PacketIo } from "../../src/dataplane/engine/packetIo.ts"
import { type Gathered, maxParts } from "../../src/dataplane/offload/coalescer.ts"
import {
  makeVirtioHeader,
  readVirtioHeader,
  virtioHeaderLength,
  writeVirtioHeader
} from "../../src/dataplane/offload/virtioHeader.ts"
import { equal, isIpv4, type Words } from "../../src/packet/address.ts"
import type { Endpoint } from "../../src/packet/endpoint.ts"
import { errno, libc } from "./ffi.ts"
import type { NativeMemory } from "./memory.ts"
import { writePointer } from "./memory.ts"

/** What the system dropped or refused, counted since the start. */
export interface SystemDrops {
  /** The socket buffer or the device's queue was full. */
  sendFull: number
  /** A firewall rule of the host refused the datagram (EPERM, EACCES). */
  sendRefused: number
  /** No route, or the address is unusable. */
  sendUnreachable: number
  sendTooLong: number
  /** The other family's socket is absent. */
  sendNoSocket: number
  sendOther: number
  /** The local address of the endpoint was gone; the kernel chose another one. Not a drop. */
  sendUnpinned: number
  /** A datagram longer than the caller's space. */
  receiveTruncated: number
  receiveOther: number
  tunWriteFull: number
  /** The device is down (EIO) or the kernel found the packet malformed (EINVAL). */
  tunWriteRefused: number
  /** A batch that the kernel would not segment (GSO); it was sent datagram by datagram. Not a drop. */
  sendUnsegmented: number
  tunReadOther: number
}

export interface NativePacketIo extends PacketIo {
  /**
   * Blocks until a descriptor is ready or `timeoutMs` (−1: no limit, at most 2^31−1) has passed. True when one is ready;
   * `drainEvent` tells whether it was the event descriptor. Calls of `receive` and `readTun` before it may miss news.
   */
  readonly poll: (timeoutMs: number) => boolean
  /** True when the event descriptor had been signalled at the last `poll`; resets it. */
  readonly drainEvent: () => boolean
  readonly drops: Readonly<SystemDrops>
  /** One line when a descriptor broke for good (the device was deleted, say); it is no longer polled. */
  readonly fault: () => string | null
}

/** Descriptors may be −1 where the host has none. `memory` must be the arena that the offsets of all calls mean. */
export const makePacketIo = (options: {
  readonly memory: NativeMemory
  readonly tun: number
  readonly udp4: number
  readonly udp6: number
  readonly event: number
  /** The device was opened with a virtio header. Default false. */
  readonly vnetHeader?: boolean
  /** Hand batches to the kernel as one (UDP GSO). Default false. */
  readonly udpSegment?: boolean
}): NativePacketIo => {
  const { memory, tun, event, vnetHeader = false, udpSegment = false } = options
  const { arena, base } = memory
  const view = new DataView(memory.memory.buffer)
  const drops: SystemDrops = {
    sendFull: 0,
    sendRefused: 0,
    sendUnreachable: 0,
    sendTooLong: 0,
    sendNoSocket: 0,
    sendOther: 0,
    sendUnpinned: 0,
    receiveTruncated: 0,
    receiveOther: 0,
    tunWriteFull: 0,
    tunWriteRefused: 0,
    sendUnsegmented: 0,
    tunReadOther: 0
  }
  const four = makeSocket(memory, view, options.udp4, 4)
  const six = makeSocket(memory, view, options.udp6, 6)
  const eventValue = arena.reserve(8, 8)
  const polled = arena.reserve(4 * 8)
  const descriptors = [options.udp4, options.udp6, tun, event]
  for (let i = 0; i < 4; i++) {
    view.setInt32(polled + 8 * i, descriptors[i]!, true)
    view.setInt16(polled + 8 * i + 4, POLLIN, true)
  }

  const tunHeader = makeVirtioHeader()
  const headerAt = arena.reserve(16, 16)
  const vectors = arena.reserve(16 * (maxParts + 1), 16)
  setIovec(view, vectors, base + headerAt, virtioHeaderLength)
  const whole = { header: makeVirtioHeader(), offsets: new Int32Array(1), lengths: new Int32Array(1), parts: 1 }
  const noSegments: Array<Unsegmented> = []
  /** Batches still to be sent singly, whatever their destination. */
  let suspended = 0

  let broken: string | null = null
  let segment = 0
  let next = four
  let signalled = false
  four.ready = four.fd >= 0
  six.ready = six.fd >= 0

  /** What `poll` said about one descriptor. A broken one is taken out, or poll would return at once for ever. */
  const isReady = (index: number): boolean => {
    const events = view.getInt16(polled + 8 * index + 6, true)
    if ((events & POLLNVAL) !== 0 || (index === 2 && (events & (POLLERR | POLLIN)) === POLLERR)) {
      view.setInt32(polled + 8 * index, -1, true)
      broken ??= `${descriptorNames[index]} is gone (descriptor ${descriptors[index]}): restart the gateway`
      return false
    }
    return events !== 0
  }

  const receiveFrom = (socket: Socket, offset: number, capacity: number, from: Endpoint): number => {
    // Junk (empty or overlong datagrams) is skipped, but not for ever: `poll` comes back to the rest.
    for (let junk = 0; junk < 64; junk++) {
      view.setUint32(socket.receive + 8, socket.addressLength, true)
      view.setUint32(socket.receive + 40, controlCapacity, true)
      setIovec(view, socket.receiveVector, base + offset, capacity)
      const length = libc.recvmsg(socket.fd, socket.receivePointer, 0)
      if (length < 0) {
        const error = errno()
        socket.ready = false
        if (error !== EAGAIN && error !== EINTR) drops.receiveOther++
        return 0
      }
      if ((view.getUint32(socket.receive + 48, true) & MSG_TRUNC) !== 0) {
        drops.receiveTruncated++
        continue
      }
      // An empty datagram means nothing to anybody, and 0 says that none waits.
      if (length === 0) continue
      const size = readControl(view, socket, from)
      segment = size > 0 && size < length ? size : length
      return length
    }
    return 0
  }

  /** Whether this destination refused a batch lately; it is asked again after some more, since routes change. */
  const refusesBatches = (to: Readonly<Endpoint>): boolean => {
    if (suspended > 0) {
      suspended--
      return true
    }
    for (let i = 0; i < noSegments.length; i++) {
      const entry = noSegments[i]!
      if (entry.port !== to.port || !equal(entry.remote, to.remote)) continue
      if (++entry.skipped < batchesUntilRetry) return true
      noSegments.splice(i, 1)
      return false
    }
    return false
  }

  const rememberRefusal = (to: Readonly<Endpoint>): void => {
    if (noSegments.length < maxNoSegments) {
      noSegments.push({ remote: { ...to.remote }, port: to.port, skipped: 0 })
      return
    }
    // So many refuse that it is not for their sake: the network card cannot do it, say.
    noSegments.length = 0
    suspended = batchesUntilRetry
  }

  /** A batch as one system call. When this destination does not take it, nothing is sent. */
  const sendBatch = (
    socket: Socket,
    to: Readonly<Endpoint>,
    offset: number,
    length: number,
    segmentSize: number,
    pinned: boolean
  ): BatchResult => {
    if ((suspended > 0 || noSegments.length > 0) && refusesBatches(to)) return batchRefused
    setIovec(view, socket.sendVector, base + offset, length)
    view.setUint16(socket.sendControl + socket.controlLength + 16, segmentSize, true)
    let unpinned = false
    for (;;) {
      const skip = pinned ? 0 : socket.controlLength
      writePointer(view, socket.send + 32, base + socket.sendControl + skip)
      view.setUint32(socket.send + 40, socket.controlLength - skip + segmentControlLength, true)
      const sent = libc.sendmsg(socket.fd, socket.sendPointer, 0)
      writePointer(view, socket.send + 32, base + socket.sendControl)
      if (sent >= 0) {
        if (unpinned) drops.sendUnpinned++
        return batchSent
      }
      const error = errno()
      if (error === EINTR) continue
      // EINVAL may mean either: a local address that is gone, or a segment that is too long for the route.
      if (pinned && (error === EINVAL || error === ENETUNREACH || error === EADDRNOTAVAIL)) {
        pinned = false
        unpinned = true
        continue
      }
      if (error !== EIO && error !== EINVAL && error !== EMSGSIZE) {
        countSend(drops, error)
        return batchLost
      }
      drops.sendUnsegmented++
      rememberRefusal(to)
      return batchRefused
    }
  }

  const sendOne = (socket: Socket, offset: number, length: number, pinned: boolean): boolean => {
    setIovec(view, socket.sendVector, base + offset, length)
    view.setUint32(socket.send + 40, pinned ? socket.controlLength : 0, true)
    for (;;) {
      if (libc.sendmsg(socket.fd, socket.sendPointer, 0) >= 0) return true
      const error = errno()
      if (error === EINTR) continue
      if (pinned && (error === EINVAL || error === ENETUNREACH || error === EADDRNOTAVAIL)) {
        pinned = false
        view.setUint32(socket.send + 40, 0, true)
        drops.sendUnpinned++
        continue
      }
      countSend(drops, error)
      return false
    }
  }

  const writeGathered = (gathered: Readonly<Gathered>): boolean => {
    if (tun < 0) return false
    const { lengths, offsets, parts } = gathered
    for (let i = 0; i < parts; i++) setIovec(view, vectors + 16 * (i + 1), base + offsets[i]!, lengths[i]!)
    if (vnetHeader) writeVirtioHeader(arena.bytes, headerAt, gathered.header)
    const first = vnetHeader ? 0 : 1
    for (;;) {
      const written =
        !vnetHeader && parts === 1
          ? libc.write(tun, base + offsets[0]!, lengths[0]!)
          : libc.writev(tun, base + vectors + 16 * first, parts + 1 - first)
      if (written >= 0) return true
      const error = errno()
      if (error === EINTR) continue
      if (error === EAGAIN || error === ENOBUFS || error === ENOMEM) drops.tunWriteFull++
      else drops.tunWriteRefused++
      return false
    }
  }

  return {
    receive: (offset, capacity, from) => {
      for (let tried = 0; tried < 2; tried++) {
        const socket = next
        next = socket === four ? six : four
        if (!socket.ready) continue
        const length = receiveFrom(socket, offset, capacity, from)
        if (length > 0) return length
      }
      // Both ran dry: the next call asks again unless a `poll` knows better by then.
      four.ready = four.fd >= 0
      six.ready = six.fd >= 0
      segment = 0
      return 0
    },
    segmentSize: () => segment,
    send: (to, offset, length, segmentSize) => {
      const socket = isIpv4(to.remote) ? four : six
      if (socket.fd < 0) {
        drops.sendNoSocket++
        return false
      }
      const pinned = writeEndpoint(view, socket, to)
      if (length <= segmentSize || segmentSize <= 0) return sendOne(socket, offset, length, pinned)
      if (udpSegment) {
        const result = sendBatch(socket, to, offset, length, segmentSize, pinned)
        if (result !== batchRefused) return result === batchSent
      }
      let sent = true
      for (let at = 0; at < length; at += segmentSize) {
        sent = sendOne(socket, offset + at, Math.min(segmentSize, length - at), pinned) && sent
      }
      return sent
    },
    tunHeader,
    readTun: (offset, capacity) => {
      if (tun < 0) return 0
      const before = vnetHeader ? virtioHeaderLength : 0
      for (;;) {
        const length = libc.read(tun, base + offset - before, capacity + before) - before
        if (length > 0) {
          if (!vnetHeader || readVirtioHeader(arena.bytes, offset - before, tunHeader)) return length
          drops.tunReadOther++
          continue
        }
        if (length > -1 - before) return 0
        const error = errno()
        if (error === EINTR) continue
        if (error !== EAGAIN) drops.tunReadOther++
        return 0
      }
    },
    writeTun: (offset, length) => {
      whole.offsets[0] = offset
      whole.lengths[0] = length
      return writeGathered(whole)
    },
    writeGathered,
    poll: (timeoutMs) => {
      for (let i = 0; i < 4; i++) view.setInt16(polled + 8 * i + 6, 0, true)
      const count = libc.poll(base + polled, 4, timeoutMs)
      four.ready = isReady(0)
      six.ready = isReady(1)
      const readable = isReady(2)
      signalled = isReady(3)
      return count > 0 && (four.ready || six.ready || readable || signalled)
    },
    drainEvent: () => {
      if (!signalled) return false
      signalled = false
      return libc.read(event, base + eventValue, 8) === 8
    },
    drops,
    fault: () => broken
  }
}

const descriptorNames = ["the IPv4 socket", "the IPv6 socket", "the TUN device", "the event descriptor"]

const POLLIN = 1
const POLLERR = 8
const POLLNVAL = 0x20
const MSG_TRUNC = 0x20
const AF_INET = 2
const AF_INET6 = 10
const IPPROTO_IP = 0
const IP_PKTINFO = 8
const IPPROTO_IPV6 = 41
const IPV6_PKTINFO = 50
const SOL_UDP = 17
const UDP_SEGMENT = 103
const UDP_GRO = 104
const EPERM = 1
const EINTR = 4
const EIO = 5
const EAGAIN = 11
const ENOMEM = 12
const EACCES = 13
const EINVAL = 22
const EMSGSIZE = 90
const EADDRNOTAVAIL = 99
const ENETDOWN = 100
const ENETUNREACH = 101
const ENOBUFS = 105
const EHOSTUNREACH = 113
const EDESTADDRREQ = 89
const controlCapacity = 128
/** Space of the control message that holds the segment size. */
const segmentControlLength = 24
/** A destination that does not take batches, and how many were sent singly since. */
interface Unsegmented {
  readonly remote: Words
  readonly port: number
  skipped: number
}
/** As many are remembered; with one more, no destination is asked for a while. */
const maxNoSegments = 64
const batchesUntilRetry = 4_096

type BatchResult = 0 | 1 | 2
const batchSent: BatchResult = 0
/** Dropped by the system. */
const batchLost: BatchResult = 1
const batchRefused: BatchResult = 2

/** One family's socket with its structures in the arena (offsets). */
interface Socket {
  readonly fd: number
  readonly family: 4 | 6
  readonly addressLength: number
  readonly controlLength: number
  readonly receive: number
  readonly receivePointer: number
  readonly receiveVector: number
  readonly receiveName: number
  readonly receiveControl: number
  readonly send: number
  readonly sendPointer: number
  readonly sendVector: number
  readonly sendName: number
  readonly sendControl: number
  ready: boolean
}

/**
 * `msghdr`: name 0, namelen 8, iov 16, iovlen 24, control 32, controllen 40, flags 48. `cmsghdr`: len 0, level 8, type 12,
 * data 16. `in_pktinfo`: ifindex 0, spec_dst 4, addr 8. `in6_pktinfo`: addr 0, ifindex 16.
 */
const makeSocket = (memory: NativeMemory, view: DataView, fd: number, family: 4 | 6): Socket => {
  const { arena, base } = memory
  const header = (): { message: number; vector: number; name: number; control: number } => {
    const message = arena.reserve(64)
    const vector = arena.reserve(16, 16)
    const name = arena.reserve(32, 32)
    const control = arena.reserve(controlCapacity)
    arena.bytes.fill(0, message, message + 64)
    arena.bytes.fill(0, name, name + 32)
    arena.bytes.fill(0, control, control + controlCapacity)
    writePointer(view, message, base + name)
    view.setUint32(message + 8, family === 4 ? 16 : 28, true)
    writePointer(view, message + 16, base + vector)
    view.setUint32(message + 24, 1, true)
    writePointer(view, message + 32, base + control)
    return { message, vector, name, control }
  }
  const receive = header()
  const send = header()
  view.setUint16(send.name, family === 4 ? AF_INET : AF_INET6, true)
  view.setUint32(send.control, 16 + (family === 4 ? 12 : 20), true)
  view.setInt32(send.control + 8, family === 4 ? IPPROTO_IP : IPPROTO_IPV6, true)
  view.setInt32(send.control + 12, family === 4 ? IP_PKTINFO : IPV6_PKTINFO, true)
  const segmentControl = send.control + (family === 4 ? 32 : 40)
  view.setUint32(segmentControl, 18, true)
  view.setInt32(segmentControl + 8, SOL_UDP, true)
  view.setInt32(segmentControl + 12, UDP_SEGMENT, true)
  return {
    fd,
    family,
    addressLength: family === 4 ? 16 : 28,
    controlLength: family === 4 ? 32 : 40,
    receive: receive.message,
    receivePointer: base + receive.message,
    receiveVector: receive.vector,
    receiveName: receive.name,
    receiveControl: receive.control,
    send: send.message,
    sendPointer: base + send.message,
    sendVector: send.vector,
    sendName: send.name,
    sendControl: send.control,
    ready: false
  }
}

const setIovec = (view: DataView, at: number, pointer: number, length: number): void => {
  writePointer(view, at, pointer)
  view.setUint32(at + 8, length, true)
  view.setUint32(at + 12, 0, true)
}

/** Fills the endpoint from address and control messages; returns the datagram size of a batch (UDP GRO), else 0. */
const readControl = (view: DataView, socket: Socket, from: Endpoint): number => {
  const name = socket.receiveName
  from.port = view.getUint16(name + 2, false)
  if (socket.family === 4) setMapped(from.remote, view.getInt32(name + 4, false))
  else getWords(view, name + 8, from.remote)
  from.local.w0 = from.local.w1 = from.local.w2 = from.local.w3 = 0
  from.interfaceIndex = 0
  let segment = 0
  const end = socket.receiveControl + view.getUint32(socket.receive + 40, true)
  for (let at = socket.receiveControl; at + 16 <= end;) {
    const length = view.getUint32(at, true)
    if (length < 16) break
    const level = view.getInt32(at + 8, true)
    const type = view.getInt32(at + 12, true)
    if (level === SOL_UDP && type === UDP_GRO) {
      segment = view.getInt32(at + 16, true)
    } else if (level === IPPROTO_IP && type === IP_PKTINFO) {
      from.interfaceIndex = view.getInt32(at + 16, true)
      setMapped(from.local, view.getInt32(at + 20, false))
    } else if (level === IPPROTO_IPV6 && type === IPV6_PKTINFO) {
      getWords(view, at + 16, from.local)
      from.interfaceIndex = view.getInt32(at + 32, true)
    }
    at += (length + 7) & ~7
  }
  return segment
}

/**
 * Fills the address and, with a known local address, the source to leave from; false: the kernel chooses. The interface
 * is asked for only where the address means nothing without it (link-local): elsewhere routing decides, since the way
 * back need not be the way in.
 */
const writeEndpoint = (view: DataView, socket: Socket, to: Readonly<Endpoint>): boolean => {
  const { local, remote } = to
  const name = socket.sendName
  const control = socket.sendControl
  view.setUint16(name + 2, to.port, false)
  if (socket.family === 4) {
    view.setInt32(name + 4, remote.w3, false)
    if (local.w3 === 0 || !isIpv4(local)) return false
    view.setInt32(control + 20, local.w3, false)
    return true
  }
  setWords(view, name + 8, remote)
  const scoped = (remote.w0 & 0xffc00000) === (0xfe800000 | 0)
  view.setUint32(name + 24, scoped ? to.interfaceIndex : 0, true)
  if ((local.w0 | local.w1 | local.w2 | local.w3) === 0 || isIpv4(local)) return false
  setWords(view, control + 16, local)
  view.setInt32(control + 32, scoped ? to.interfaceIndex : 0, true)
  return true
}

const setMapped = (a: Words, word: number): void => {
  a.w0 = 0
  a.w1 = 0
  a.w2 = 0xffff
  a.w3 = word
}

const getWords = (view: DataView, at: number, a: Words): void => {
  a.w0 = view.getInt32(at, false)
  a.w1 = view.getInt32(at + 4, false)
  a.w2 = view.getInt32(at + 8, false)
  a.w3 = view.getInt32(at + 12, false)
}

const setWords = (view: DataView, at: number, a: Readonly<Words>): void => {
  view.setInt32(at, a.w0, false)
  view.setInt32(at + 4, a.w1, false)
  view.setInt32(at + 8, a.w2, false)
  view.setInt32(at + 12, a.w3, false)
}

const countSend = (drops: SystemDrops, error: number): void => {
  switch (error) {
    case EAGAIN:
    case ENOBUFS:
    case ENOMEM:
      drops.sendFull++
      break
    case EPERM:
    case EACCES:
      drops.sendRefused++
      break
    case EINVAL:
    case EADDRNOTAVAIL:
    case EDESTADDRREQ:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTUNREACH:
      drops.sendUnreachable++
      break
    case EMSGSIZE:
      drops.sendTooLong++
      break
    default:
      drops.sendOther++
  }
}
