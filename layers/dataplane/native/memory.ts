/**
 * The memory that system calls see. Number pointers do not keep memory alive, so every block is pinned for the life of
 * its thread, and a fixed `WebAssembly.Memory` (initial = maximum) never moves.
 */
import { Arena } from "../../../src/packet/arena.ts"
import { addressOf, libc } from "./ffi.ts"

export interface NativeMemory {
  readonly arena: Arena
  /** Address of the arena's byte 0: a pointer is `base + offset`. */
  readonly base: number
  /** For WebAssembly code that works on the same bytes. */
  readonly memory: WebAssembly.Memory
}

/** Makes and pins an arena of `megabytes` MiB (1 to 4096). Throws `RangeError` when the system has no such block. */
export const makeMemory = (megabytes: number): NativeMemory => {
  const pages = megabytes * 16
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages })
  const arena = new Arena(memory.buffer)
  const native = { arena, base: addressOf(memory.buffer), memory }
  pinned.push(native)
  return native
}

/**
 * Zeroed integers for a big table that is visited at random: from the start of a page on, so that no record of 64 bytes
 * lies in two cache lines, and in large pages where the system gives them (madvise(2) MADV_HUGEPAGE), so that a visit
 * needs no walk through the page tables. Where it does not, the memory is as any other.
 */
export const reserveTable = (length: number): Int32Array => {
  const bytes = Math.ceil((length * 4) / pageSize) * pageSize
  const page = bytes < largePageSize ? pageSize : largePageSize
  const buffer = new ArrayBuffer(bytes + page)
  const address = addressOf(buffer)
  const from = Math.ceil(address / page) * page
  if (page === largePageSize) libc.madvise(from, bytes, MADV_HUGEPAGE)
  return new Int32Array(buffer, from - address, length)
}

const MADV_HUGEPAGE = 14
const pageSize = 4_096
const largePageSize = 2_097_152

/** Writes a 64-bit pointer at an offset of the arena. */
export const writePointer = (view: DataView, offset: number, pointer: number): void => {
  view.setUint32(offset, pointer >>> 0, true)
  view.setUint32(offset + 4, Math.floor(pointer / 4294967296), true)
}

const pinned: Array<NativeMemory> = ((globalThis as Record<PropertyKey, unknown>)[
  Symbol.for("sallyport/native/pinned")
] ??= []) as Array<NativeMemory>
