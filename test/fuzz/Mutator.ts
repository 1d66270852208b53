import type { Random } from "./Random.ts"

/** Numbers that parsers stumble over: lengths of headers, versions, limits, one more and one less. */
const bytes = [
  0, 1, 2, 4, 6, 7, 8, 15, 16, 17, 20, 28, 40, 44, 58, 60, 63, 64, 127, 128, 192, 255, 0x45, 0x46, 0x60, 0x2e, 0x5c
]
const words = [
  0, 1, 7, 8, 12, 19, 20, 28, 39, 40, 48, 53, 255, 256, 511, 512, 1279, 1280, 1420, 0x1fff, 0x2000, 0x3fff, 0x4000,
  0x7fff, 0x8000, 0xc00c, 0xfff8, 0xfff9, 0xffff
]

/** Makes new inputs of old ones. */
export class Mutator {
  private readonly random: Random
  private readonly dictionary: ReadonlyArray<Uint8Array>
  private readonly maxLength: number
  private readonly scratch: Uint8Array
  private length = 0

  constructor(random: Random, dictionary: ReadonlyArray<Uint8Array>, maxLength: number) {
    this.random = random
    this.dictionary = dictionary
    this.maxLength = maxLength
    this.scratch = new Uint8Array(maxLength)
  }

  /** One to sixteen changes; some bring in a piece of `other`. */
  mutate(base: Uint8Array, other: Uint8Array): Uint8Array {
    this.length = Math.min(base.length, this.maxLength)
    this.scratch.set(base.subarray(0, this.length))
    for (let changes = 1 << this.random.below(5); changes > 0; changes--) this.change(other)
    return this.scratch.slice(0, this.length)
  }

  private change(other: Uint8Array): void {
    const { random, scratch, length } = this
    const at = length === 0 ? 0 : random.below(length)
    switch (random.below(12)) {
      case 0:
        if (length > 0) scratch[at]! ^= 1 << random.below(8)
        return
      case 1:
        if (length > 0) scratch[at] = random.pick(bytes)
        return
      case 2:
        if (length > 0) scratch[at] = random.next()
        return
      case 3: {
        if (at + 1 >= length) return
        const word = random.pick(words)
        scratch[at] = word >>> 8
        scratch[at + 1] = word
        return
      }
      case 4:
        return this.splice(at, 1 + random.below(8), undefined)
      case 5:
        return this.splice(
          at,
          0,
          Uint8Array.from({ length: 1 + random.below(8) }, () => random.next())
        )
      case 6:
        return this.bring(at, other, 32, random.below(2) === 0)
      case 7:
        return this.bring(at, scratch.slice(0, length), 16, false)
      case 8: {
        if (this.dictionary.length === 0) return
        const word = random.pick(this.dictionary)
        return this.splice(at, random.below(2) === 0 ? 0 : word.length, word)
      }
      case 9:
        this.length = at
        return
      case 10:
        if (length > 0) scratch[at]! += random.below(35) - 17
        return
      case 11:
        if (random.below(8) === 0) this.splice(at, 0, new Uint8Array(random.below(400)).fill(random.next()))
    }
  }

  /** A piece of `from`, over what is there or between it. */
  private bring(at: number, from: Uint8Array, longest: number, over: boolean): void {
    if (from.length === 0) return
    const start = this.random.below(from.length)
    const piece = from.slice(start, start + 1 + this.random.below(longest))
    this.splice(at, over ? piece.length : 0, piece)
  }

  /** Like an array's; what does not fit falls off the end. */
  private splice(at: number, removed: number, inserted: Uint8Array | undefined): void {
    const { scratch } = this
    const room = Math.min(inserted?.length ?? 0, this.maxLength - at)
    const from = Math.min(at + removed, this.length)
    const rest = Math.min(this.length - from, this.maxLength - at - room)
    scratch.copyWithin(at + room, from, from + rest)
    if (inserted !== undefined) scratch.set(inserted.subarray(0, room), at)
    this.length = at + room + rest
  }
}
