/**
 * Small numbers for long-lived names, so that the packet path compares numbers. A freed number is used again: what is
 * kept by it must go with it, so tables say how with `onRemoved` where they are made.
 */
export class Interner<Name extends string> {
  private readonly indices = new Map<Name, number>()
  private readonly names: Array<Name | undefined> = []
  private readonly uses: Array<number> = []
  private readonly free: Array<number> = []
  private readonly removals: Array<(index: number) => void> = []

  /** Called with each number before it is freed; later ones first, so that a table may still ask those it builds on. */
  onRemoved(forget: (index: number) => void): void {
    this.removals.unshift(forget)
  }

  /** The number of `name`, given out now if it has none. It is the name's until it was released as often. */
  retain(name: Name): number {
    const known = this.indices.get(name)
    if (known !== undefined) {
      this.uses[known]!++
      return known
    }
    const index = this.free.pop() ?? this.names.length
    this.names[index] = name
    this.uses[index] = 1
    this.indices.set(name, index)
    return index
  }

  release(index: number): void {
    const name = this.names[index]
    if (name !== undefined && --this.uses[index]! === 0) this.remove(name)
  }

  /** −1 when unknown. */
  find(name: Name): number {
    return this.indices.get(name) ?? -1
  }

  name(index: number): Name | undefined {
    return this.names[index]
  }

  /** However often it was retained. */
  remove(name: Name): void {
    const index = this.indices.get(name)
    if (index === undefined) return
    for (const forget of this.removals) forget(index)
    this.indices.delete(name)
    this.names[index] = undefined
    this.uses[index] = 0
    this.free.push(index)
  }
}
