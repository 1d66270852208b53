/**
 * `PacketIo` by system calls. Every structure that the kernel reads or fills (`msghdr`, `iovec`, control message, socket
 * address) is laid out once in the arena; a call patches addresses and lengths in place and allocates nothing.
 */
import type { PacketIo } from "../../../src/dataplane/engine/packetIo.ts"
import { type Gathered, maxParts, takeApart } from "../../../src/dataplane/offload/coalescer.ts"
import {
  makeVirtioHeader,
  readVirtioHeader,
  virtioHeaderLength,
  writeVirtioHeader
} from "../../../src/dataplane/offload/virtioHeader.ts"
import { isIpv4 } from "../../../src/packet/address.ts"
import type { Endpoint } from "../../../src/packet/endpoint.ts"
import { BatchRefusals, untilRetry } from "./batchRefusals.ts"
import { errno, libc } from "./ffi.ts"
import { makeHandshakeFilter } from "./handshakeFilter.ts"
import { type NativeMemory, writePointer } from "./memory.ts"
import {
  classControlLength,
  controlCapacity,
  makeSocket,
  readControl,
  segmentControlLength,
  setIovec,
  type Socket,
  writeEndpoint
} from "./udpMessages.ts"

/** What the system dropped or refused, counted since the start. */
const noDrops = () => ({
  /** The socket buffer or the device's queue was full. */
  sendFull: 0,
  /** A firewall rule of the host refused the datagram (EPERM, EACCES). */
  sendRefused: 0,
  /** No route, or the address is unusable. */
  sendUnreachable: 0,
  sendTooLong: 0,
  /** The other family's socket is absent. */
  sendNoSocket: 0,
  sendOther: 0,
  /** The local address of the endpoint was gone; the kernel chose another one. Not a drop. */
  sendUnpinned: 0,
  /** A datagram longer than the caller's space. */
  receiveTruncated: 0,
  receiveOther: 0,
  tunWriteFull: 0,
  /** The device is down (EIO) or the kernel found the packet malformed (EINVAL). */
  tunWriteRefused: 0,
  /** A batch that the kernel would not segment (GSO); it was sent datagram by datagram. Not a drop. */
  sendUnsegmented: 0,
  /** A super-packet that the device would not take; it was written packet by packet. Not a drop. */
  tunWriteUnjoined: 0,
  tunReadOther: 0
})

type SystemDrops = ReturnType<typeof noDrops>

export interface NativePacketIo extends PacketIo {
  /**
   * Blocks until a descriptor is ready or `timeoutMs` (−1: no limit, at most 2^31−1) has passed. True when one is ready;
   * `drainEvent` tells whether it was the event descriptor. Calls of `receive` and `readTun` before it may miss news.
   */
  readonly poll: (timeoutMs: number) => boolean
  /** The socket of IPv6, where there was none before. */
  readonly gainIpv6: (fd: number) => void
  /** True when the event descriptor had been signalled at the last `poll`; resets it. */
  readonly drainEvent: () => boolean
  readonly drops: Readonly<SystemDrops>
  /** One line when a descriptor broke for good; it is no longer polled. A TUN device that is gone may come back. */
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
  const drops = noDrops()
  const four = makeSocket(memory, view, options.udp4, 4)
  const six = makeSocket(memory, view, options.udp6, 6)
  const eventValue = arena.reserve(8, 8)
  const polled = arena.reserve(4 * 8)
  const sockets = [options.udp4, options.udp6]
  const descriptors = [...sockets, tun, event]
  for (let i = 0; i < 4; i++) {
    view.setInt32(polled + 8 * i, descriptors[i]!, true)
    view.setInt16(polled + 8 * i + 4, POLLIN, true)
  }

  const tunHeader = makeVirtioHeader()
  const headerAt = arena.reserve(16, 16)
  const vectors = arena.reserve(16 * (maxParts + 1), 16)
  setIovec(view, vectors, base + headerAt, virtioHeaderLength)
  const whole: Gathered = {
    header: makeVirtioHeader(),
    offsets: new Int32Array(1),
    lengths: new Int32Array(1),
    first: new Uint8Array(0),
    parts: 1
  }
  /** Super-packets of each kind still to be taken apart before the next one is tried whole. */
  const apart = new Int32Array(256)
  const refusals = new BatchRefusals()
  const filter = makeHandshakeFilter(memory, sockets)

  let broken: string | null = null
  /** The device is gone until main puts another one in its place, under the same number: this poll goes without it. */
  let withoutTun = false
  let segment = 0
  let trafficClass = 0
  let next = four
  let signalled = false
  four.ready = four.fd >= 0
  six.ready = six.fd >= 0

  /** What `poll` said about one descriptor. A broken one is taken out, or poll would return at once for ever. */
  const isReady = (index: number): boolean => {
    const events = view.getInt16(polled + 8 * index + 6, true)
    if ((events & POLLNVAL) !== 0) {
      view.setInt32(polled + 8 * index, -1, true)
      broken ??= `${descriptorNames[index]} is gone (descriptor ${descriptors[index]}): restart the gateway`
      return false
    }
    if (index === 2 && (events & (POLLERR | POLLIN)) === POLLERR) {
      withoutTun = true
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
      trafficClass = socket.trafficClass
      return length
    }
    return 0
  }

  /** A batch as one system call. When this destination does not take it, nothing is sent. */
  const sendBatch = (
    socket: Socket,
    to: Readonly<Endpoint>,
    offset: number,
    length: number,
    segmentSize: number,
    pinned: boolean,
    control: number
  ): BatchResult => {
    if (refusals.applies(to)) return batchRefused
    const classLength = control === socket.classedControl ? classControlLength : 0
    setIovec(view, socket.sendVector, base + offset, length)
    view.setUint16(control + socket.controlLength + classLength + 16, segmentSize, true)
    let unpinned = false
    for (;;) {
      const skip = pinned ? 0 : socket.controlLength
      writePointer(view, socket.send + 32, base + control + skip)
      view.setUint32(socket.send + 40, socket.controlLength - skip + classLength + segmentControlLength, true)
      const sent = libc.sendmsg(socket.fd, socket.sendPointer, 0)
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
      refusals.add(to)
      return batchRefused
    }
  }

  const sendOne = (socket: Socket, offset: number, length: number, pinned: boolean, control: number): boolean => {
    const classLength = control === socket.classedControl ? classControlLength : 0
    setIovec(view, socket.sendVector, base + offset, length)
    for (;;) {
      const skip = pinned ? 0 : socket.controlLength
      writePointer(view, socket.send + 32, base + control + skip)
      view.setUint32(socket.send + 40, socket.controlLength - skip + classLength, true)
      if (libc.sendmsg(socket.fd, socket.sendPointer, 0) >= 0) return true
      const error = errno()
      if (error === EINTR) continue
      if (pinned && (error === EINVAL || error === ENETUNREACH || error === EADDRNOTAVAIL)) {
        pinned = false
        drops.sendUnpinned++
        continue
      }
      countSend(drops, error)
      return false
    }
  }

  /** One packet or super-packet as one system call: 0, or the error. */
  const writeOnce = ({ header, lengths, offsets, parts }: Readonly<Gathered>): number => {
    for (let i = 0; i < parts; i++) setIovec(view, vectors + 16 * (i + 1), base + offsets[i]!, lengths[i]!)
    if (vnetHeader) writeVirtioHeader(arena.bytes, headerAt, header)
    const first = vnetHeader ? 0 : 1
    for (;;) {
      const written =
        !vnetHeader && parts === 1
          ? libc.write(tun, base + offsets[0]!, lengths[0]!)
          : libc.writev(tun, base + vectors + 16 * first, parts + 1 - first)
      if (written >= 0) return 0
      const error = errno()
      if (error !== EINTR) return error
    }
  }

  const countTunWrite = (error: number): void => {
    if (error === EAGAIN || error === ENOBUFS || error === ENOMEM) drops.tunWriteFull++
    else drops.tunWriteRefused++
  }

  const writeTun = (offset: number, length: number): boolean => {
    if (tun < 0) return false
    whole.offsets[0] = offset
    whole.lengths[0] = length
    const error = writeOnce(whole)
    if (error !== 0) countTunWrite(error)
    return error === 0
  }

  const writeGathered = (gathered: Readonly<Gathered>): boolean => {
    const { header, parts } = gathered
    if (tun < 0) return false
    if (parts === 1) return writeTun(gathered.offsets[0]!, gathered.lengths[0]!)
    if (apart[header.kind]! > 0) {
      apart[header.kind]!--
      return takeApart(arena.bytes, gathered, writeTun) === parts
    }
    const error = writeOnce(gathered)
    if (error === 0) return true
    if (error !== EINVAL && error !== EIO) {
      countTunWrite(error)
      return false
    }
    // The device does not take such super-packets, or takes nothing (it is down, say), which its first packet shows.
    const written = takeApart(arena.bytes, gathered, writeTun)
    if (written > 0) {
      drops.tunWriteUnjoined++
      apart[header.kind] = untilRetry
    }
    return written === parts
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
    shedHandshakes: filter.set,
    segmentSize: () => segment,
    trafficClass: () => trafficClass,
    send: (to, offset, length, segmentSize, sentClass) => {
      const socket = isIpv4(to.remote) ? four : six
      if (socket.fd < 0) {
        drops.sendNoSocket++
        return false
      }
      // The socket's own class is 0.
      const control = sentClass === 0 ? socket.sendControl : socket.classedControl
      const pinned = writeEndpoint(view, socket, to, control)
      if (sentClass !== 0) view.setInt32(control + socket.controlLength + 16, sentClass, true)
      if (length <= segmentSize || segmentSize <= 0) return sendOne(socket, offset, length, pinned, control)
      if (udpSegment) {
        const result = sendBatch(socket, to, offset, length, segmentSize, pinned, control)
        if (result !== batchRefused) return result === batchSent
      }
      let sent = true
      for (let at = 0; at < length; at += segmentSize) {
        sent = sendOne(socket, offset + at, Math.min(segmentSize, length - at), pinned, control) && sent
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
    writeTun,
    writeGathered,
    poll: (timeoutMs) => {
      for (let i = 0; i < 4; i++) view.setInt16(polled + 8 * i + 6, 0, true)
      if (withoutTun) view.setInt32(polled + 16, -1, true)
      const count = libc.poll(base + polled, 4, withoutTun ? Math.min(timeoutMs >>> 0, lostTunMs) : timeoutMs)
      if (withoutTun) {
        withoutTun = false
        view.setInt32(polled + 16, tun, true)
      }
      four.ready = isReady(0)
      six.ready = isReady(1)
      const readable = isReady(2)
      signalled = isReady(3)
      return count > 0 && (four.ready || six.ready || readable || signalled)
    },
    gainIpv6: (fd) => {
      six.fd = fd
      six.ready = true
      sockets[1] = fd
      descriptors[1] = fd
      view.setInt32(polled + 8, fd, true)
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

/** How often a lost TUN device is looked for. */
const lostTunMs = 50

const descriptorNames = ["the IPv4 socket", "the IPv6 socket", "the TUN device", "the event descriptor"]

const POLLIN = 1
const POLLERR = 8
const POLLNVAL = 0x20
const MSG_TRUNC = 0x20
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

type BatchResult = 0 | 1 | 2
const batchSent: BatchResult = 0
/** Dropped by the system. */
const batchLost: BatchResult = 1
const batchRefused: BatchResult = 2

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
