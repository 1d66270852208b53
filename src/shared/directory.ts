/** The slots of exact names, the same ones at every client and gateway, for ever. Pure. */
import type { SlotSpan } from "./slotZones.ts"

export interface DirectoryEntry {
  /** As `placeName` has it. */
  readonly domain: string
  readonly slot: number
}

/** What the directory calls a name of a site: it may have been of another one before, and keeps the place that it had there. */
export const placeName = (domain: string, site: number): string => (site === 0 ? domain : `${domain} ${site}`)

export const nameOfPlace = (place: string): string => place.split(" ", 1)[0]!

/**
 * The entries to add so that each domain has one: the first free slot from where the domain's hash points to, and round, in
 * the order of the domains. Those that are known stay. A domain for which no slot is left gets none. It comes out the same in
 * every process; but a name that finds its place taken depends on who came before, so only what the engine has counts.
 *
 * @param known domain to slot
 * @param isUsable whether the slot has addresses
 */
export const extendDirectory = (
  known: ReadonlyMap<string, number>,
  domains: Iterable<string>,
  { from, to }: SlotSpan,
  isUsable: (slot: number) => boolean
): ReadonlyArray<DirectoryEntry> => {
  const taken = new Set(known.values())
  const added = new Map<string, number>()
  const count = to - from
  const freeFrom = (hash: number): number | undefined => {
    for (let i = 0; i < count; i++) {
      const slot = from + ((hash + i) % count)
      if (!taken.has(slot) && isUsable(slot)) return slot
    }
    return undefined
  }
  for (const domain of domains) {
    if (known.has(domain) || added.has(domain)) continue
    const slot = freeFrom(textHash(domain))
    if (slot === undefined) break
    taken.add(slot)
    added.set(domain, slot)
  }
  return Array.from(added, ([domain, slot]) => ({ domain, slot }))
}

/** FNV-1a, 32 bits, of an ASCII text. Slots depend on it: it stays what it is. */
const textHash = (text: string): number => {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  return hash >>> 0
}
