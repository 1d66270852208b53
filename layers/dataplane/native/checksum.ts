/** The sum of `checksum.wat` behind the `Checksum` contract, and a copy within the arena. */
import type { Checksum } from "../../../src/packet/checksum.ts"
import { checksumBytes } from "./checksumBytes.ts"
import type { NativeMemory } from "./memory.ts"

export interface NativeChecksum {
  readonly checksum: Checksum
  /** Copies `length` bytes of the arena; the ranges may overlap. */
  readonly copy: (to: number, from: number, length: number) => void
}

/** Every supported Node has SIMD and bulk memory, but an old processor may not. */
export const hasNativeChecksum = (): boolean => WebAssembly.validate(Buffer.from(checksumBytes, "base64"))

/** Throws without `hasNativeChecksum`. */
export const makeNativeChecksum = ({ memory }: NativeMemory): NativeChecksum => {
  const module = new WebAssembly.Module(Buffer.from(checksumBytes, "base64"))
  const instance = new WebAssembly.Instance(module, { arena: { memory } })
  const sum = instance.exports["sum"] as (at: number, length: number) => number
  const copy = instance.exports["copy"] as (to: number, from: number, length: number) => void
  return {
    // Sums of words do not depend on byte order but for one swap of the result (RFC 1071 §2 (B)).
    checksum: (offset, length, initial) => {
      const little = sum(offset, length)
      const total = initial + ((little & 0xff) << 8) + (little >>> 8)
      const once = (total & 0xffff) + (total >>> 16)
      return (once & 0xffff) + (once >>> 16)
    },
    copy
  }
}
