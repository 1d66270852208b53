/** `StateStore` in memory: for tests, the demo, and a gateway that runs without a state file. Forgets all at its end. */
import { randomBytesUnsafe } from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Base64 from "effect/encoding/Base64"
import * as Layer from "effect/Layer"
import {
  type GatewayKeys,
  maxRested,
  reservedOf,
  StateError,
  StateStore,
  type StoredClient,
  type StoredMapping,
  type StoredSite
} from "../../src/host/StateStore.ts"

/** A fresh store per build, with the same rule as the file: one name per (client, slot). */
export const layer: Layer.Layer<StateStore> = Layer.effect(
  StateStore,
  Effect.sync(() => {
    let keys: GatewayKeys = { privateKey: Base64.encode(randomBytesUnsafe(32)), ending: null }
    const clients = new Map<string, StoredClient>()
    const mappings = new Map<string, StoredMapping>()
    const reserved = new Map<string, number>()
    const rested = new Map<string, Map<number, number>>()
    let site: StoredSite | null = null
    const idOf = (m: Pick<StoredMapping, "client" | "slot">): string => JSON.stringify([m.client, m.slot])

    return StateStore.of({
      trouble: Effect.succeed(null),
      keys: Effect.sync(() => keys),
      putKeys: (next) => Effect.sync(() => void (keys = next)),
      putKeyLeft: (leftMs) =>
        Effect.sync(() => void (keys = { ...keys, ending: keys.ending && { ...keys.ending, leftMs } })),
      clients: Effect.sync(() => [...clients.values()]),
      putClients: (rows) =>
        Effect.sync(() => {
          for (const row of rows) clients.set(row.client, row)
        }),
      site: Effect.sync(() => site),
      putSite: (next) => Effect.sync(() => void (site = next)),
      mappings: Effect.sync(() =>
        [...mappings.values()].sort((a, b) => (a.client === b.client ? a.slot - b.slot : a.client < b.client ? -1 : 1))
      ),
      mappingsOf: (client) =>
        Effect.sync(() =>
          [...mappings.values()].filter((row) => row.client === client).sort((a, b) => a.slot - b.slot)
        ),
      putMapping: (mapping) =>
        Effect.suspend(() => {
          const holder = mappings.get(idOf(mapping))
          if (holder !== undefined && holder.domain !== mapping.domain) {
            return Effect.fail(
              new StateError({ message: `slot ${mapping.slot} of ${mapping.client} belongs to ${holder.domain}` })
            )
          }
          mappings.set(idOf(mapping), mapping)
          return Effect.void
        }),
      removeMapping: (mapping, releasedAt) =>
        Effect.sync(() => {
          const id = idOf(mapping)
          if (mappings.get(id)?.domain !== mapping.domain) return
          mappings.delete(id)
          const slots = rested.get(mapping.client) ?? new Map<number, number>()
          if (slots.size < maxRested) rested.set(mapping.client, slots.set(mapping.slot, releasedAt))
        }),
      takeRested: (client, before) =>
        Effect.sync(() => {
          const slots = rested.get(client)
          const [oldest] = [...(slots ?? [])].toSorted(([a, x], [b, y]) => x - y || a - b)
          if (oldest === undefined || oldest[1] > before) return null
          slots!.delete(oldest[0])
          return oldest[0]
        }),
      reserveSlots: (client, count, site) =>
        Effect.sync(() => {
          const first = reserved.get(reservedOf(client, site)) ?? 0
          reserved.set(reservedOf(client, site), first + count)
          return first
        })
    })
  })
)
