/**
 * How mappings share a name's real addresses: each takes them in an order of its own, which follows from ids alone. It is the
 * same in every worker and gateway, and what joins or leaves moves no other address before another (rendezvous hashing).
 */
import type { Words } from "../packet/address.ts"
import { hashFlow } from "./hashIndex.ts"

/** Of a mapping by its id: 32 bits (FNV-1a). */
export const spreadOf = (id: string): number => {
  let hash = 0x811c9dc5
  for (let i = 0; i < id.length; i++) hash = Math.imul(hash ^ id.charCodeAt(i), 0x01000193)
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
