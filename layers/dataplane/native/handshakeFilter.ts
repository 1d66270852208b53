/**
 * A classic BPF program (the kernel's Documentation/networking/filter.rst) that drops most handshake messages of WireGuard
 * before they take a place in a socket's queue: a forger of sources can fill it faster than anybody reads.
 */
import { libc } from "./ffi.ts"
import { type NativeMemory, writePointer } from "./memory.ts"

const loadWord = 0x20
const jumpIfEqual = 0x15
const jumpIfAnyBit = 0x45
const returnOperand = 0x06
/** SKF_AD_OFF + SKF_AD_RANDOM: loads a random word. */
const random = 0xfffff000 + 56

const whole = 0xffffffff
/**
 * Lets one of 2^`level` handshake messages through, and four times as many initiations that bring a cookie: whoever got one
 * of ours comes back with it once.
 *
 * `sock_filter`: code 0, instructions to skip if true 2 and if false 3, operand 4. The program sees a datagram from its
 * UDP header on; the type of a message is its first word, little-endian, while loads are big-endian.
 */
const programOf = (
  level: number
): ReadonlyArray<readonly [code: number, ifTrue: number, ifFalse: number, operand: number]> => [
  [loadWord, 0, 0, 8],
  [jumpIfEqual, 3, 0, 0x01000000],
  [jumpIfEqual, 6, 0, 0x02000000],
  [jumpIfEqual, 5, 0, 0x03000000],
  [returnOperand, 0, 0, whole],
  // The last word of an initiation's second MAC, zero without a cookie.
  [loadWord, 0, 0, 8 + 144],
  [jumpIfEqual, 2, 0, 0],
  [loadWord, 0, 0, random],
  [jumpIfAnyBit, 3, 2, (2 ** level - 1) >> 2],
  [loadWord, 0, 0, random],
  [jumpIfAnyBit, 1, 0, 2 ** level - 1],
  [returnOperand, 0, 0, whole],
  [returnOperand, 0, 0, 0]
]

/** For these sockets (−1: none). A filter that an earlier worker has left is taken away. */
export const makeHandshakeFilter = ({ arena, base, memory }: NativeMemory, sockets: ReadonlyArray<number>) => {
  const view = new DataView(memory.buffer)
  const length = programOf(0).length
  const instructions = arena.reserve(8 * length)
  // `sock_fprog`: length 0, instructions 8.
  const fprog = arena.reserve(16, 16)
  view.setUint16(fprog, length, true)
  writePointer(view, fprog + 8, base + instructions)
  /** 0: no filter. Where the system permits none all messages are read, as ever. */
  const set = (level: number): void => {
    for (const [i, [code, ifTrue, ifFalse, operand]] of programOf(level).entries()) {
      const at = instructions + 8 * i
      view.setUint16(at, code, true)
      view.setUint8(at + 2, ifTrue)
      view.setUint8(at + 3, ifFalse)
      view.setUint32(at + 4, operand, true)
    }
    for (const fd of sockets) {
      if (fd >= 0) libc.setsockopt(fd, SOL_SOCKET, level > 0 ? SO_ATTACH_FILTER : SO_DETACH_FILTER, base + fprog, 16)
    }
  }
  set(0)
  return { set }
}

const SOL_SOCKET = 1
const SO_ATTACH_FILTER = 26
const SO_DETACH_FILTER = 27
