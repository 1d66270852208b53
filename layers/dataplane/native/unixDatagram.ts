/** Datagrams to Unix sockets (unix(7)), which node does not send. */
import { errno, errnoName, libc } from "./ffi.ts"
import { makeMemory } from "./memory.ts"

/**
 * Sends one datagram, of up to 4 KiB, to the socket with this `sun_path` (an abstract name begins with a zero). Never waits. Yields
 * the name of the error: `EAGAIN` where the queue is full.
 */
export const sendUnixDatagram = (path: Uint8Array, payload: Uint8Array): string | undefined => {
  const fd = libc.socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
  if (fd < 0) return errnoName(errno())
  bytes.fill(0, 0, addressLength)
  view.setUint16(0, AF_UNIX, true)
  bytes.set(path, 2)
  bytes.set(payload, addressLength)
  // The zero at the end of a path may be left out; of an abstract name every byte counts.
  const sent = libc.sendto(fd, pointer + addressLength, payload.length, MSG_NOSIGNAL, pointer, 2 + path.length)
  const error = sent < 0 ? errnoName(errno()) : undefined
  libc.close(fd)
  return error
}

const AF_UNIX = 1
const SOCK_DGRAM = 2
const SOCK_NONBLOCK = 0o4000
const SOCK_CLOEXEC = 0o2000000
const MSG_NOSIGNAL = 0x4000
/** `sockaddr_un`, rounded up. */
const addressLength = 112

const { arena, base } = makeMemory(1)
const at = arena.reserve(addressLength + 4_096)
const bytes = arena.bytes.subarray(at, at + addressLength + 4_096)
const view = new DataView(bytes.buffer, bytes.byteOffset)
const pointer = base + at
