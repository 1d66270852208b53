/**
 * How a UDP socket's messages lie in the arena: what `recvmsg` and `sendmsg` read and fill, laid out once per family,
 * and the addresses, interface and segment size in them.
 */
import { isIpv4, isLinkLocal, type Words } from "../../../src/packet/address.ts"
import type { Endpoint } from "../../../src/packet/endpoint.ts"
import { type NativeMemory, writePointer } from "./memory.ts"

/**
 * `msghdr`: name 0, namelen 8, iov 16, iovlen 24, control 32, controllen 40, flags 48. `cmsghdr`: len 0, level 8, type 12,
 * data 16. `in_pktinfo`: ifindex 0, spec_dst 4, addr 8. `in6_pktinfo`: addr 0, ifindex 16.
 */
export const makeSocket = (memory: NativeMemory, view: DataView, fd: number, family: 4 | 6) => {
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
  const classed = header()
  const level = family === 4 ? IPPROTO_IP : IPPROTO_IPV6
  const controlLength = family === 4 ? 32 : 40
  view.setUint16(send.name, family === 4 ? AF_INET : AF_INET6, true)
  const control = (at: number, length: number, of: number, type: number): void => {
    view.setUint32(at, 16 + length, true)
    view.setInt32(at + 8, of, true)
    view.setInt32(at + 12, type, true)
  }
  for (const at of [send.control, classed.control]) {
    control(at, controlLength === 32 ? 12 : 20, level, family === 4 ? IP_PKTINFO : IPV6_PKTINFO)
  }
  control(send.control + controlLength, 2, SOL_UDP, UDP_SEGMENT)
  control(classed.control + controlLength, 4, level, family === 4 ? IP_TOS : IPV6_TCLASS)
  control(classed.control + controlLength + classControlLength, 2, SOL_UDP, UDP_SEGMENT)
  return {
    fd,
    family,
    addressLength: family === 4 ? 16 : 28,
    controlLength,
    receive: receive.message,
    receivePointer: base + receive.message,
    receiveVector: receive.vector,
    receiveName: receive.name,
    receiveControl: receive.control,
    send: send.message,
    sendPointer: base + send.message,
    sendVector: send.vector,
    sendName: send.name,
    /** Where to leave from, and the size of a batch's datagrams. */
    sendControl: send.control,
    /** The same with a traffic class between them. */
    classedControl: classed.control,
    /** Of the last message. */
    trafficClass: 0,
    ready: false
  }
}

/** One family's socket with its structures in the arena (offsets). */
export type Socket = ReturnType<typeof makeSocket>

export const setIovec = (view: DataView, at: number, pointer: number, length: number): void => {
  writePointer(view, at, pointer)
  view.setUint32(at + 8, length, true)
  view.setUint32(at + 12, 0, true)
}

/** Fills the endpoint from address and control messages; returns the datagram size of a batch (UDP GRO), else 0. */
export const readControl = (view: DataView, socket: Socket, from: Endpoint): number => {
  const name = socket.receiveName
  from.port = view.getUint16(name + 2, false)
  if (socket.family === 4) setMapped(from.remote, view.getInt32(name + 4, false))
  else getWords(view, name + 8, from.remote)
  from.local.w0 = from.local.w1 = from.local.w2 = from.local.w3 = 0
  from.interfaceIndex = 0
  socket.trafficClass = 0
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
    } else if (level === IPPROTO_IP && type === IP_TOS) {
      socket.trafficClass = view.getUint8(at + 16)
    } else if (level === IPPROTO_IPV6 && type === IPV6_TCLASS) {
      socket.trafficClass = view.getInt32(at + 16, true) & 255
    } else if (level === IPPROTO_IPV6 && type === IPV6_PKTINFO) {
      getWords(view, at + 16, from.local)
      from.interfaceIndex = view.getInt32(at + 32, true)
    }
    at += (length + 7) & ~7
  }
  return segment
}

/**
 * Fills the address and, with a known local address, the source to leave from in the control message at `control`; false:
 * the kernel chooses. The interface is asked for only where the address means nothing without it (link-local): elsewhere
 * routing decides, since the way back need not be the way in.
 */
export const writeEndpoint = (view: DataView, socket: Socket, to: Readonly<Endpoint>, control: number): boolean => {
  const { local, remote } = to
  const name = socket.sendName
  view.setUint16(name + 2, to.port, false)
  if (socket.family === 4) {
    view.setInt32(name + 4, remote.w3, false)
    if (local.w3 === 0 || !isIpv4(local)) return false
    view.setInt32(control + 20, local.w3, false)
    return true
  }
  setWords(view, name + 8, remote)
  const scoped = isLinkLocal(remote)
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

/** Capacity of the control messages of a `recvmsg`. */
export const controlCapacity = 128
/** Space of the control message that holds the segment size. */
export const segmentControlLength = 24
/** Space of the control message that holds the traffic class. */
export const classControlLength = 24

const AF_INET = 2
const AF_INET6 = 10
const IPPROTO_IP = 0
const IP_TOS = 1
const IP_PKTINFO = 8
const IPPROTO_IPV6 = 41
const IPV6_PKTINFO = 50
const IPV6_TCLASS = 67
const SOL_UDP = 17
const UDP_SEGMENT = 103
const UDP_GRO = 104
