/**
 * How mappings share a name's real addresses: each takes them in an order of its own, which follows from client and name alone. It is the
 * same in every worker and gateway, and what joins or leaves moves no other address before another (rendezvous hashing).
 */
import type { Words } from "../packet/address.ts"
import { hashFlow } from "./hashIndex.ts"

/**
 * 32 bits (FNV-1a) of the mapping's client and domain. A resource between them in its id, the one that the client happened to
 * ask for first, does not count.
 */
export const spreadOf = (client: string, mapping: string): number => {
  const text = `${client}${mapping.slice(mapping.lastIndexOf("/"))}`
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  return hash
}

/** The addresses in the mapping's own order. */
export const spreadBy = (spread: number, addresses: ReadonlyArray<Readonly<Words>>): ReadonlyArray<Readonly<Words>> =>
  addresses.length < 2
    ? addresses
    : addresses
        .map((address) => ({ address, weight: hashFlow(spread, 0, 0, address, 0) }))
        .toSorted((a, b) => a.weight - b.weight)
        .map(({ address }) => address)
