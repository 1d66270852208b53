/**
 * Packet capture for the lab: one AF_PACKET socket for all devices of a network namespace, "cooked" (bytes begin with
 * the IP header, whatever the device), with the kernel's time stamps (packet(7), socket(7) SO_TIMESTAMPNS).
 */
import koffi from "koffi"

const AF_PACKET = 17
const SOCK_DGRAM = 2
const ETH_P_ALL = 0x0003
const SOL_SOCKET = 1
const SO_TIMESTAMPNS = 35
const SO_RCVBUFFORCE = 33
const SO_RCVBUF = 8
const SOL_PACKET = 263
const PACKET_STATISTICS = 6
const PACKET_OUTGOING = 4
const MSG_DONTWAIT = 0x40
const MSG_TRUNC = 0x20
const POLLIN = 1
const POLLHUP = 16

const nameSize = 20
const controlSize = 128

/** Nanoseconds since the epoch, as decimal text; bytes are a view, valid until the next call of `next`. */
interface RawPacket {
  readonly time: string
  readonly device: string
  readonly outgoing: boolean
  /** Whole length, also when only the first `snap` bytes were copied. */
  readonly length: number
  readonly bytes: Uint8Array
}

export interface PacketSocket {
  /** The next packet that is already there. */
  readonly next: () => RawPacket | undefined
  /** Waits for a packet or for the end of standard input; `false` at that end. */
  readonly wait: (timeoutMs: number) => boolean
  /** Packets that the kernel dropped since the last call because we were too slow. */
  readonly lost: () => number
}

/** Opens the socket in the calling process's network namespace; needs CAP_NET_RAW there. Throws an `Error` naming the call. */
export const openPacketSocket = (snap: number): PacketSocket => {
  const libc = koffi.load(null)
  const socket = libc.func("int socket(int, int, int)")
  const setsockopt = libc.func("int setsockopt(int, int, int, void *, uint)")
  const getsockopt = libc.func("int getsockopt(int, int, int, void *, void *)")
  const recvmsg = libc.func("long recvmsg(int, void *, int)")
  const poll = libc.func("int poll(void *, ulong, int)")
  const indexToName = libc.func("void *if_indextoname(uint, void *)")

  const fd: number = socket(AF_PACKET, SOCK_DGRAM, ((ETH_P_ALL & 0xff) << 8) | (ETH_P_ALL >> 8))
  if (fd < 0) throw new Error(`socket(AF_PACKET): errno ${koffi.errno()} (capturing needs CAP_NET_RAW)`)
  const size = int32(64 * 1024 * 1024)
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, size, 4) !== 0) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, size, 4)
  if (setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, int32(1), 4) !== 0) {
    throw new Error(`setsockopt(SO_TIMESTAMPNS): errno ${koffi.errno()}`)
  }

  // One block for everything the kernel is given by address, so that nothing moves or is collected while it is in use.
  const block = Buffer.from(new ArrayBuffer(512 + snap))
  const base = koffi.address(block)
  const message = block.subarray(0, 56)
  const vector = block.subarray(64, 80)
  const name = block.subarray(128, 128 + nameSize)
  const control = block.subarray(256, 256 + controlSize)
  const data = block.subarray(512)
  vector.writeBigUInt64LE(base + 512n, 0)
  vector.writeBigUInt64LE(BigInt(snap), 8)
  message.writeBigUInt64LE(base + 128n, 0)
  message.writeBigUInt64LE(base + 64n, 16)
  message.writeBigUInt64LE(1n, 24)
  message.writeBigUInt64LE(base + 256n, 32)
  const polled = Buffer.alloc(16)
  const devices = new Map<number, string>()

  const deviceName = (index: number): string => {
    const known = devices.get(index)
    if (known !== undefined) return known
    const text = Buffer.alloc(16)
    if (indexToName(index, text) === null) return `#${index}`
    const found = text.toString("latin1", 0, text.indexOf(0))
    devices.set(index, found)
    return found
  }

  return {
    next: () => {
      message.writeUInt32LE(nameSize, 8)
      message.writeBigUInt64LE(BigInt(controlSize), 40)
      const length = Number(recvmsg(fd, block, MSG_DONTWAIT | MSG_TRUNC))
      if (length < 0) return undefined
      return {
        time: timestamp(control, Number(message.readBigUInt64LE(40))),
        device: deviceName(name.readUInt32LE(4)),
        outgoing: name[10] === PACKET_OUTGOING,
        length,
        bytes: data.subarray(0, Math.min(length, snap))
      }
    },
    wait: (timeoutMs) => {
      polled.writeInt32LE(fd, 0)
      polled.writeInt16LE(POLLIN, 4)
      polled.writeInt32LE(0, 8)
      polled.writeInt16LE(POLLIN, 12)
      poll(polled, 2, timeoutMs)
      return (polled.readInt16LE(14) & (POLLHUP | POLLIN)) === 0
    },
    lost: () => {
      const statistics = Buffer.alloc(8)
      return getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, statistics, int32(8)) === 0 ? statistics.readUInt32LE(4) : 0
    }
  }
}

/** The first control message is the time stamp: cmsghdr of 16 bytes, then a timespec of two 64-bit numbers. */
const timestamp = (control: Buffer, length: number): string =>
  length < 32 || control.readInt32LE(8) !== SOL_SOCKET || control.readInt32LE(12) !== SO_TIMESTAMPNS
    ? "0"
    : (control.readBigInt64LE(16) * 1_000_000_000n + control.readBigInt64LE(24)).toString()

const int32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32LE(value, 0)
  return bytes
}
