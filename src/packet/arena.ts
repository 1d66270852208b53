/**
 * The one block of memory that every packet lives in. In the worker it is a fixed
 * `WebAssembly.Memory` whose address is handed to system calls; in memory-only runs a plain array.
 */
export class Arena {
  readonly bytes: Uint8Array
  private top: number

  constructor(buffer: ArrayBufferLike) {
    this.bytes = new Uint8Array(buffer)
    this.top = 64
  }

  /** Reserves `length` bytes for ever and returns their offset, a multiple of `alignment` (a power of two). */
  reserve(length: number, alignment = 64): number {
    const offset = (this.top + alignment - 1) & ~(alignment - 1)
    if (offset + length > this.bytes.length) {
      throw new RangeError(`arena of ${this.bytes.length} bytes is full: ${length} more were asked for`)
    }
    this.top = offset + length
    return offset
  }
}
