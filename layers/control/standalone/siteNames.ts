/** What a gateway's site tells of slots, taken up by those of its clients. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { ClientId } from "../../../src/model/Client.ts"
import type { Slots } from "../../../src/control/standalone/Slots.ts"
import type { StoredMapping } from "../../../src/host/StateStore.ts"
import { makeOddities } from "../../../src/loops/oddities.ts"
import type { MappingId } from "../../../src/model/Mapping.ts"
import type { SiteNews } from "../../../src/shared/SharedState.ts"
import type { ReleasedMapping } from "../../../src/shared/SharedStore.ts"
import type { StoredSlots } from "./storedSlots.ts"

interface Owned {
  readonly client: { readonly id: ClientId }
  readonly slots: Slots
}

export const makeSiteNames = (stored: StoredSlots) => {
  const loudly = makeOddities(Effect.logError)

  /** The site is right: whoever has the slot here loses it. */
  const lose = (of: Owned, slot: number, domain: string, holder: string) => {
    of.slots.forget(slot)
    return loudly(
      "slot",
      `a proxy address of ${of.client.id} stood for ${domain} here and for ${holder} in the whole site: it is ${holder}'s, and ${domain} gets another one`
    )
  }

  /** A name has the slot, as the site knows. Yields the names for which that changes something. */
  const learn = Effect.fnUntraced(function* (of: Owned, row: StoredMapping) {
    let learned = of.slots.learn(row)
    const holder = learned?._tag === "Contradicted" ? learned.holder : undefined
    if (holder !== undefined) {
      yield* lose(of, row.slot, holder.domain, row.domain)
      learned = of.slots.learn(row)
    }
    if (learned?._tag !== "Named") return holder === undefined ? [] : [holder.id]
    if (learned.released !== undefined) yield* stored.release(of, learned.released, yield* Clock.currentTimeMillis)
    return holder === undefined ? [learned.entry.id] : [holder.id, learned.entry.id]
  })

  /** Yields the name that has lost it. */
  const forget = ({ slots }: Owned, { domain, slot }: ReleasedMapping): ReadonlyArray<MappingId> => {
    if (slots.ofSlot(slot)?.domain !== domain) return []
    return [slots.forget(slot)!.id]
  }

  return {
    learn,
    /** Yields the names of each client for which that changes something. */
    take: Effect.fnUntraced(function* <A extends Owned>(
      { changes, conflicts }: SiteNews,
      of: (client: string) => A | undefined
    ) {
      const touched = new Map<A, Set<MappingId>>()
      const touch = (client: A, names: ReadonlyArray<MappingId>) => {
        const known = touched.get(client) ?? new Set()
        for (const name of names) known.add(name)
        if (known.size > 0) touched.set(client, known)
      }
      for (const conflict of conflicts) {
        const client = of(conflict.client)
        if (client?.slots.ofSlot(conflict.slot)?.domain !== conflict.domain) continue
        touch(client, [client.slots.ofSlot(conflict.slot)!.id])
        yield* lose(client, conflict.slot, conflict.domain, conflict.holder)
      }
      for (const { _tag, mapping } of changes) {
        const client = of(mapping.client)
        if (client === undefined) continue
        touch(client, _tag === "Put" ? yield* learn(client, mapping) : forget(client, mapping))
      }
      return touched
    })
  }
}
