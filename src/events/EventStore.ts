/**
 * The last events, bounded by count and age. Each kind has its own shelf, and on it each client its share: whoever makes
 * most of them loses its own oldest first. Pure; times are epoch milliseconds.
 */
import { clientOf, type Event, type EventKind, eventKinds, kindOf, type LoggedEvent } from "./Event.ts"

const capacities: Readonly<Record<EventKind, number>> = {
  refused: 2_048,
  flows: 4_096,
  dns: 2_048,
  lookups: 1_024,
  strangers: 256,
  audit: 2_048
}
const keptMs = 24 * 3_600_000
/** Of what repeats itself within this time one event is kept, with the sum. */
const mergeMs = 60_000

export class EventStore {
  private readonly shelves: ReadonlyMap<EventKind, Shelf> = new Map(
    eventKinds.map((kind) => [kind, new Shelf(capacities[kind])])
  )
  private number = 0

  /** The event as it is told now; kept is the sum of it and those just like it. */
  add(event: Event, at: number): LoggedEvent {
    const logged = { number: ++this.number, at, event }
    this.shelves.get(kindOf(event))!.put(logged)
    return logged
  }

  /** In the order in which they came. */
  list(now: number): ReadonlyArray<LoggedEvent> {
    return [...this.shelves.values()]
      .flatMap((shelf) => shelf.list(now - keptMs))
      .toSorted((a, b) => a.number - b.number)
  }
}

class Shelf {
  /** By number, the oldest first. */
  private readonly events = new Map<number, LoggedEvent>()
  private readonly byClient = new Map<string, Set<number>>()
  /** The clients that have so many events, at that index. */
  private readonly bySize: Array<Set<string>> = []
  /** The number of the last event of those that are alike. */
  private readonly alike = new Map<string, number>()

  private readonly capacity: number

  constructor(capacity: number) {
    this.capacity = capacity
  }

  put(logged: LoggedEvent): void {
    const kept = this.merged(logged)
    const client = clientOf(logged.event) ?? ""
    const own = this.byClient.get(client)
    const share = Math.max(1, Math.floor(this.capacity / (this.byClient.size + (own === undefined ? 1 : 0))))
    if (own !== undefined && own.size >= share) this.drop(oldestOf(own))
    else if (this.events.size >= this.capacity) this.drop(this.ofLargest())
    const others = this.byClient.get(client) ?? new Set()
    this.resize(client, others.size, others.size + 1)
    this.byClient.set(client, others.add(kept.number))
    this.events.set(kept.number, kept)
    const likeness = likenessOf(kept.event)
    if (likeness !== null) this.alike.set(likeness, kept.number)
  }

  list(from: number): ReadonlyArray<LoggedEvent> {
    for (const { at, number } of this.events.values()) {
      if (at >= from) break
      this.drop(number)
    }
    return [...this.events.values()]
  }

  /** The oldest of a client that has most. */
  private ofLargest(): number | undefined {
    const [client = ""] = this.bySize.at(-1) ?? []
    return oldestOf(this.byClient.get(client))
  }

  private resize(client: string, before: number, after: number): void {
    this.bySize[before]?.delete(client)
    if (after > 0) (this.bySize[after] ??= new Set()).add(client)
    while (this.bySize.at(-1)?.size === 0) this.bySize.pop()
  }

  private merged(logged: LoggedEvent): LoggedEvent {
    const likeness = likenessOf(logged.event)
    const number = likeness === null ? undefined : this.alike.get(likeness)
    const before = number === undefined ? undefined : this.events.get(number)
    if (before === undefined || logged.at - before.at >= mergeMs) return logged
    this.drop(before.number)
    return { ...logged, event: sum(before.event, logged.event) }
  }

  private drop(number: number | undefined): void {
    const gone = number === undefined ? undefined : this.events.get(number)
    if (gone === undefined) return
    this.events.delete(gone.number)
    const client = clientOf(gone.event) ?? ""
    const own = this.byClient.get(client)
    if (own?.delete(gone.number) === true) this.resize(client, own.size + 1, own.size)
    if (own?.size === 0) this.byClient.delete(client)
    const likeness = likenessOf(gone.event)
    if (likeness !== null && this.alike.get(likeness) === gone.number) this.alike.delete(likeness)
  }
}

const oldestOf = (numbers: Iterable<number> = []): number | undefined => numbers[Symbol.iterator]().next().value

/** The same for events that are told as one; `null`: each is told. */
const likenessOf = (event: Event): string | null => {
  switch (event._tag) {
    case "Refused":
      return JSON.stringify([event._tag, event.client, event.reason, event.to])
    case "UnknownDevice":
      return JSON.stringify([event._tag, event.publicKey, event.endpoint])
    case "Denied":
    case "Accepted":
      return JSON.stringify(event)
    default:
      return null
  }
}

const sum = (before: Event, after: Event): Event => {
  if (before._tag === "Refused" && after._tag === "Refused") {
    return { ...after, packets: before.packets + after.packets }
  }
  if (before._tag === "UnknownDevice" && after._tag === "UnknownDevice") {
    return { ...after, handshakes: before.handshakes + after.handshakes }
  }
  return after
}
