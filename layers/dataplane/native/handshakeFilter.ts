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
/** One in so many gets through, so that a client can still connect; a power of two. */
const sample = 16

/**
 * `sock_filter`: code 0, instructions to skip if true 2 and if false 3, operand 4. The program sees a datagram from its
 * UDP header on; the type of a message is its first word, little-endian, while loads are big-endian.
 */
const program: ReadonlyArray<readonly [code: number, ifTrue: number, ifFalse: number, operand: number]> = [
  [loadWord, 0, 0, 8],
  [jumpIfEqual, 3, 0, 0x01000000],
  [jumpIfEqual, 2, 0, 0x02000000],
  [jumpIfEqual, 1, 0, 0x03000000],
  [returnOperand, 0, 0, whole],
  [loadWord, 0, 0, random],
  [jumpIfAnyBit, 1, 0, sample - 1],
  [returnOperand, 0, 0, whole],
  [returnOperand, 0, 0, 0]
]

/** For these sockets (−1: none). A filter that an earlier worker has left is taken away. */
export const makeHandshakeFilter = ({ arena, base, memory }: NativeMemory, sockets: ReadonlyArray<number>) => {
  const view = new DataView(memory.buffer)
  const instructions = arena.reserve(8 * program.length)
  for (const [i, [code, ifTrue, ifFalse, operand]] of program.entries()) {
    const at = instructions + 8 * i
    view.setUint16(at, code, true)
    view.setUint8(at + 2, ifTrue)
    view.setUint8(at + 3, ifFalse)
    view.setUint32(at + 4, operand, true)
  }
  // `sock_fprog`: length 0, instructions 8.
  const fprog = arena.reserve(16, 16)
  view.setUint16(fprog, program.length, true)
  writePointer(view, fprog + 8, base + instructions)
  /** Where the system permits no filter all messages are read, as ever. */
  const set = (on: boolean): void => {
    for (const fd of sockets) {
      if (fd >= 0) libc.setsockopt(fd, SOL_SOCKET, on ? SO_ATTACH_FILTER : SO_DETACH_FILTER, base + fprog, 16)
    }
  }
  set(false)
  return { set }
}

const SOL_SOCKET = 1
const SO_ATTACH_FILTER = 26
const SO_DETACH_FILTER = 27
