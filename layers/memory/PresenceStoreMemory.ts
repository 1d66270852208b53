/** `PresenceStore` in memory: what the gateways of a test tell each other. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { monotonicMillis } from "../../src/loops/monotonic.ts"
import { PresenceStore } from "../../src/shared/PresenceStore.ts"
import { type Heartbeat, type Hello, isFresh, maxRead, type Meeting, type Sighting } from "../../src/shared/meeting.ts"
import { SharedStoreError, type SharedStoreStatus } from "../../src/shared/SharedStore.ts"

/** Dates are those of whoever asks. */
export class PresenceMemory {
  private readonly heartbeats = new Map<number, Heartbeat>()
  private readonly sightings = new Map<string, { readonly sighting: Sighting; readonly revision: number }>()
  private revision = 0

  meet(hello: Hello, dateMs: number): Meeting {
    const { about, address, clients, draining, gateway, known, master, port } = hello
    const before = this.heartbeats.get(gateway) ?? null
    const epoch = hello.epoch ?? Math.max(dateMs, (before?.epoch ?? 0) + 1)
    const masterSince = master === "no" ? null : master === "claim" ? dateMs : (before?.masterSince ?? dateMs)
    this.heartbeats.set(gateway, {
      gateway,
      epoch,
      at: dateMs,
      clients,
      masterSince,
      heir: null,
      address: address ?? `192.0.2.${100 + gateway}`,
      port,
      draining,
      about
    })
    for (const said of hello.sightings) {
      const sighting = { ...said, gateway, epoch }
      this.sightings.set(`${gateway} ${sighting.publicKey}`, { sighting, revision: ++this.revision })
    }
    const rows = [...this.sightings.values()]
      .filter(({ revision, sighting }) => revision > (known.get(sighting.gateway) ?? 0))
      .toSorted((a, b) => a.revision - b.revision)
      .slice(0, maxRead)
    return {
      dateMs,
      epoch,
      before,
      heartbeats: [...this.heartbeats.values()],
      sightings: rows.map(({ sighting }) => sighting),
      read: new Map(rows.map(({ revision, sighting }) => [sighting.gateway, revision])),
      last: rows.length < maxRead
    }
  }

  inherit(gateway: number, from: ReadonlyArray<number>, dateMs: number): ReadonlyArray<number> {
    const isSilent = (no: number): boolean => !isFresh(this.heartbeats.get(no)?.at ?? Number.NEGATIVE_INFINITY, dateMs)
    return from.filter((no) => {
      const heartbeat = this.heartbeats.get(no)
      if (heartbeat === undefined || no === gateway || !isSilent(no)) return false
      const { heir } = heartbeat
      if (heir !== null && heir !== gateway && !isSilent(heir)) return false
      this.heartbeats.set(no, { ...heartbeat, heir: gateway })
      return true
    })
  }

  /** All that has been heard of was so much earlier, in milliseconds. */
  age(ms: number): void {
    for (const heartbeat of this.heartbeats.values()) {
      this.heartbeats.set(heartbeat.gateway, { ...heartbeat, at: heartbeat.at - ms })
    }
  }

  /** As after a crash of the server. */
  lose(): void {
    this.heartbeats.clear()
    this.sightings.clear()
  }
}

/** `reachable` is asked each time. */
export const layer = (memory: PresenceMemory, reachable: () => boolean = () => true): Layer.Layer<PresenceStore> => {
  const at = "memory:5432"
  const message = `PostgreSQL ${at}: connect ECONNREFUSED — see whether it runs there, and the way to it`
  const error = new SharedStoreError({ reason: "Unreachable", message })
  const ask = <A>(work: (dateMs: number) => A): Effect.Effect<A, SharedStoreError> =>
    Effect.flatMap(Clock.currentTimeMillis, (dateMs) =>
      Effect.suspend(() => (reachable() ? Effect.succeed(work(dateMs)) : Effect.fail(error)))
    )
  let status: SharedStoreStatus = { _tag: "Connected", at, sinceMs: 0 }
  return Layer.succeed(
    PresenceStore,
    PresenceStore.of({
      status: Effect.map(monotonicMillis, (sinceMs) => {
        if (reachable() !== (status._tag === "Connected")) {
          status = reachable() ? { _tag: "Connected", at, sinceMs } : { _tag: "Away", error, sinceMs }
        }
        return status
      }),
      meet: (hello) => ask((dateMs) => memory.meet(hello, dateMs)),
      inherit: (gateway, from) => ask((dateMs) => memory.inherit(gateway, from, dateMs))
    })
  )
}
