import type { ClientId } from "../model/Client.ts"

/** Two places that use one key by turns. */
export interface TwoPlaces {
  /** `address:port`, the one that has the connection now first. */
  readonly endpoints: readonly [string, string]
  /** When the key last went back to where it came from: monotonic milliseconds. */
  readonly at: number
}

/** A client that roams may come back once or twice; who comes back so often within the window is in both places. */
const returns = 4
const windowMs = 60_000
/** Told again after this long. */
const againMs = 600_000

interface Place {
  current: string
  before: string | null
  /** When it came back, oldest first. */
  times: Array<number>
  toldAt: number
}

/** Finds the clients whose key is in use at two places at a time: each takes the other's connection, again and again. */
export class KeyPlaces {
  private readonly clients = new Map<ClientId, Place>()

  /** Yields the two places when they are news. */
  observe(client: ClientId, endpoint: string, now: number): TwoPlaces | null {
    const place = this.clients.get(client)
    if (place === undefined) {
      this.clients.set(client, { current: endpoint, before: null, times: [], toldAt: Number.NEGATIVE_INFINITY })
      return null
    }
    if (place.current === endpoint) return null
    const back = place.before === endpoint
    place.before = place.current
    place.current = endpoint
    place.times = (back ? [...place.times, now] : []).slice(-returns)
    const first = place.times[0]
    if (place.times.length < returns || first === undefined || now - first > windowMs) return null
    if (now - place.toldAt < againMs) return null
    place.toldAt = now
    return { endpoints: [place.current, place.before], at: now }
  }

  /** Those of the last ten minutes. */
  contested(client: ClientId, now: number): TwoPlaces | null {
    const place = this.clients.get(client)
    const at = place?.times.at(-1)
    if (place === undefined || at === undefined || now - place.toldAt > againMs || place.before === null) return null
    return { endpoints: [place.current, place.before], at }
  }

  forget(client: ClientId): void {
    this.clients.delete(client)
  }
}
