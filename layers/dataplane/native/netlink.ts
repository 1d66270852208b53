/** Netlink sockets: questions that the kernel answers within the call, and events that wait until somebody looks. */
import {
  decodeMessages,
  encodeRequest,
  type NetlinkMessage,
  type NetlinkRequest,
  NLMSG_DONE,
  NLMSG_ERROR
} from "../../../src/host/netlink.ts"
import { errno, errnoName, libc } from "./ffi.ts"
import { makeMemory } from "./memory.ts"
import { NativeError } from "./nativeError.ts"

export interface Netlink {
  /** The answers; an error of the kernel by its name (`ENODEV`, `ENETUNREACH` …). */
  readonly ask: (request: NetlinkRequest) => ReadonlyArray<NetlinkMessage> | NativeError
  /** The events that wait; `null`: some were lost, and anything may have changed. */
  readonly events: () => ReadonlyArray<NetlinkMessage> | null
  readonly close: () => void
}

/** `groups`: the events wanted, as bits; a socket with events is not for questions. */
export const openNetlink = (protocol: "route" | "netfilter", groups = 0): Netlink | NativeError => {
  const fd = libc.socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol === "route" ? 0 : 12)
  if (fd < 0) return failed("socket")
  setOption(fd, NETLINK_GET_STRICT_CHK)
  bytes.fill(0, 0, 12)
  view.setUint16(0, AF_NETLINK, true)
  view.setUint32(8, groups, true)
  if (libc.bind(fd, pointer, 12) < 0) {
    const error = failed("bind")
    libc.close(fd)
    return error
  }
  let sequence = 0

  /** One read; its length, or 0 when nothing waits. */
  const read = (): Uint8Array | NativeError => {
    for (;;) {
      const length = libc.read(fd, pointer, capacity)
      if (length >= 0) return bytes.subarray(0, length)
      const name = errnoName(errno())
      if (name === "EINTR") continue
      return name === "EAGAIN" ? bytes.subarray(0, 0) : new NativeError("read", name, `netlink: ${name}`)
    }
  }

  const answersTo = (dump: boolean, asked: number): ReadonlyArray<NetlinkMessage> | NativeError => {
    const answers: Array<NetlinkMessage> = []
    for (;;) {
      const chunk = read()
      if (chunk instanceof NativeError) return chunk
      if (chunk.length === 0) return answers
      for (const message of decodeMessages(chunk)) {
        if (message.sequence !== asked) continue
        if (message.type === NLMSG_DONE) return answers
        if (message.type === NLMSG_ERROR) {
          const number = -new DataView(message.body.buffer, message.body.byteOffset).getInt32(0, true)
          if (number === 0) return answers
          return new NativeError("netlink", errnoName(number), `netlink: ${errnoName(number)}`)
        }
        answers.push(message)
      }
      if (!dump) return answers
    }
  }

  return {
    ask: (request) => {
      const encoded = encodeRequest(request, ++sequence)
      bytes.set(encoded)
      return libc.write(fd, pointer, encoded.length) < 0 ? failed("write") : answersTo(request.dump, sequence)
    },
    events: () => {
      const events: Array<NetlinkMessage> = []
      for (let reads = 0; reads < mostReads; reads++) {
        const chunk = read()
        if (chunk instanceof NativeError) return null
        if (chunk.length === 0) return events
        events.push(...decodeMessages(chunk))
      }
      return null
    },
    close: () => void libc.close(fd)
  }
}

/** More events than these are not worth a closer look. */
const mostReads = 512

const AF_NETLINK = 16
const SOCK_RAW = 3
const SOCK_NONBLOCK = 0x800
const SOCK_CLOEXEC = 0x80000
const SOL_NETLINK = 270
/** Requests are filtered by the kernel (4.20). */
const NETLINK_GET_STRICT_CHK = 12

const capacity = 128 * 1024
const native = makeMemory(1)
const offset = native.arena.reserve(capacity)
const bytes = native.arena.bytes.subarray(offset, offset + capacity)
const view = new DataView(native.memory.buffer, offset, capacity)
const pointer = native.base + offset

const setOption = (fd: number, option: number): void => {
  view.setInt32(0, 1, true)
  libc.setsockopt(fd, SOL_NETLINK, option, pointer, 4)
}

const failed = (syscall: string): NativeError => {
  const name = errnoName(errno())
  return new NativeError(syscall, name, `the kernel cannot be asked about its network: ${syscall} failed with ${name}`)
}
