/**
 * What a gateway takes over of the names that another one gave when it was alone. Only what is its own to give, at clients that
 * it gave nothing else under that address: it alone decides then, and the site has nothing to say. Pure.
 */
import type { StoredMapping } from "../host/StateStore.ts"
import { isWithin, lengthOf, type SlotSpan } from "./slotZones.ts"

/** Of the gateway that was alone: it counted all slots, from the first one on. */
export interface GivenAlone {
  readonly mappings: ReadonlyArray<StoredMapping>
  /** How many slots were set aside, by client. */
  readonly reserved: ReadonlyMap<string, number>
  /** Public keys by client. */
  readonly devices: ReadonlyMap<string, string>
}

export interface Taker extends GivenAlone {
  /** Clients that have been there: what was set aside for the others was told to nobody. */
  readonly seen: ReadonlySet<string>
  /** What is its own, in the order in which it counts; `null`: all. */
  readonly spans: ReadonlyArray<SlotSpan> | null
}

export interface NameImport {
  readonly taken: ReadonlyArray<StoredMapping>
  /** Names that it has with the same slot. */
  readonly there: number
  readonly left: ReadonlyArray<{ readonly mapping: StoredMapping; readonly why: string }>
  /** How many slots are to be set aside at least, by client, so that none of the other one's is given again. */
  readonly reserved: ReadonlyMap<string, number>
}

export const importNames = (taker: Taker, given: GivenAlone): NameImport => {
  const holders = new Map(taker.mappings.map(({ client, domain, slot }) => [keyOf(client, slot), domain]))
  const known = new Set([...taker.seen, ...taker.mappings.map(({ client }) => client)])
  const isNew = ({ client, slot }: StoredMapping): boolean => {
    const place = countedAs(taker.spans, slot)
    return !known.has(client) || (place !== undefined && place >= (taker.reserved.get(client) ?? 0))
  }
  const reasonAgainst = (mapping: StoredMapping): string | undefined => {
    const { client, slot } = mapping
    const device = taker.devices.get(client)
    if (device === undefined) return "no client is called so here"
    if (device !== (given.devices.get(client) ?? device)) return "that client is another device here"
    if (countedAs(taker.spans, slot) === undefined) return "its address is not this gateway's to give in the site"
    const holder = holders.get(keyOf(client, slot))
    if (holder !== undefined) return `its address stands for ${holder} here`
    return isNew(mapping) ? undefined : "its address may have stood for another name here"
  }
  const taken: Array<StoredMapping> = []
  const left: Array<NameImport["left"][number]> = []
  let there = 0
  for (const mapping of given.mappings) {
    if (holders.get(keyOf(mapping.client, mapping.slot)) === mapping.domain) {
      there++
      continue
    }
    const why = reasonAgainst(mapping)
    if (why === undefined) taken.push(mapping)
    else left.push({ mapping, why })
  }
  const reserved = new Map<string, number>()
  for (const [client, count] of given.reserved) {
    const least = countBehind(taker.spans, count)
    if (taker.devices.has(client) && least > (taker.reserved.get(client) ?? 0)) reserved.set(client, least)
  }
  return { taken, there, left, reserved }
}

const keyOf = (client: string, slot: number): string => `${slot} ${client}`

/** As which of its slots it gives this one. */
const countedAs = (spans: Taker["spans"], slot: number): number | undefined => {
  if (spans === null) return slot
  let before = 0
  for (const span of spans) {
    if (isWithin(span, slot)) return before + slot - span.from
    before += lengthOf(span)
  }
  return undefined
}

/** From which of its slots on none is below this one. */
const countBehind = (spans: Taker["spans"], slot: number): number => {
  if (spans === null) return slot
  let [before, behind] = [0, 0]
  for (const span of spans) {
    if (span.from < slot) behind = before + Math.min(lengthOf(span), slot - span.from)
    before += lengthOf(span)
  }
  return behind
}
