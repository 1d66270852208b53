/**
 * Addresses from text, each parsed once: the proxy IPs of one client are those of the next, and a new worker reads all of
 * them at once. Bounded; the words must not be changed.
 */
import { parseAddress, type Words } from "../../packet/address.ts"

const capacity = 16_384

export class AddressCache {
  private readonly known = new Map<string, Readonly<Words>>()

  /** What is no address is left out. */
  all(texts: ReadonlyArray<string>): Array<Readonly<Words>> {
    const addresses: Array<Readonly<Words>> = []
    for (const text of texts) {
      const address = this.known.get(text) ?? this.parse(text)
      if (address !== undefined) addresses.push(address)
    }
    return addresses
  }

  private parse(text: string): Readonly<Words> | undefined {
    const address = parseAddress(text)
    if (address === undefined) return undefined
    if (this.known.size >= capacity) this.known.clear()
    this.known.set(text, address)
    return address
  }
}
