/** Small integers for long-lived names, so that the packet path compares numbers. Freed indices are used again. */
export class Interner<Name extends string> {
  private readonly indices = new Map<Name, number>()
  private readonly names: Array<Name | undefined> = []
  private readonly free: Array<number> = []

  /** The index of `name`, given out now if it has none. */
  add(name: Name): number {
    const known = this.indices.get(name)
    if (known !== undefined) return known
    const index = this.free.pop() ?? this.names.length
    this.names[index] = name
    this.indices.set(name, index)
    return index
  }

  /** −1 when unknown. */
  find(name: Name): number {
    return this.indices.get(name) ?? -1
  }

  name(index: number): Name | undefined {
    return this.names[index]
  }

  remove(name: Name): void {
    const index = this.indices.get(name)
    if (index === undefined) return
    this.indices.delete(name)
    this.names[index] = undefined
    this.free.push(index)
  }
}
