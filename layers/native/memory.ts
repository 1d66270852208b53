/**
 * The memory that system calls see. Number pointers do not keep memory alive, so every block is pinned for the life of
 * its thread, and a fixed `WebAssembly.Memory` (initial = maximum) never moves.
 */
import { Arena } from "../../src/packet/arena.ts"
import { addressOf } from "./ffi.ts"

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

/** Writes a 64-bit pointer at an offset of the arena. */
export const writePointer = (view: DataView, offset: number, pointer: number): void => {
  view.setUint32(offset, pointer >>> 0, true)
  view.setUint32(offset + 4, Math.floor(pointer / 4294967296), true)
}

const pinned: Array<NativeMemory> = ((globalThis as Record<PropertyKey, unknown>)[
  Symbol.for("sallyport/native/pinned")
] ??= []) as Array<NativeMemory>
