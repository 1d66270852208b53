/**
 * What the worker has told of clients, strangers and silent addresses, as it stands. Outlives workers; bounded. Times are
 * milliseconds of main's monotonic clock.
 */
import type { ClientId } from "../model/Client.ts"
import type { MappingId } from "../model/Mapping.ts"
import type { AddressRow, ClientRow, StrangerRow } from "./journal.ts"
import type { Journal } from "./notices.ts"

export interface ClientActivity {
  /** Bytes of WireGuard's datagrams since the gateway's start, from the client and to it. */
  readonly bytesIn: number
  readonly bytesOut: number
  /** Packets of it that went no further. */
  readonly refused: number
  /** Its flows just now. */
  readonly flows: number
  /** Handshakes of it in a row that were answered, and no session came of them. */
  readonly unusedAnswers: number
  /** The last authentic message from it. */
  readonly heardAt: number | null
  /** The last packet either way. */
  readonly activeAt: number | null
}

export interface Stranger extends StrangerRow {
  readonly since: number
  readonly latest: number
}

export interface SilentAddress {
  readonly mapping: MappingId
  readonly address: string
  readonly tries: number
  readonly since: number
  readonly repliedAt: number | null
}

const mostStrangers = 64
const strangersKeptMs = 3_600_000
const mostAddresses = 4_096

export class Activity {
  readonly clients = new Map<ClientId, ClientActivity>()
  private readonly byKey = new Map<string, Stranger>()
  private readonly byAddress = new Map<string, SilentAddress>()

  observe({ addresses, clients, strangers }: Pick<Journal, "addresses" | "clients" | "strangers">, now: number): void {
    for (const row of clients) this.add(row, now)
    for (const row of addresses) this.setAddress(row, now)
    for (const row of strangers) this.meet(row, now)
  }

  /** A new worker has no flows, and learns anew who answers. */
  restart(): void {
    for (const [client, activity] of this.clients) this.clients.set(client, { ...activity, flows: 0 })
    this.byAddress.clear()
  }

  forgetClient(client: ClientId): void {
    this.clients.delete(client)
  }

  /** The device has become a client. */
  forgetStranger(publicKey: string): void {
    this.byKey.delete(publicKey)
  }

  /** Of the last hour, the latest one first. */
  strangers(now: number): ReadonlyArray<Stranger> {
    return Array.from(this.byKey.values())
      .filter(({ latest }) => now - latest < strangersKeptMs)
      .toSorted((a, b) => b.latest - a.latest)
  }

  get silentAddresses(): ReadonlyArray<SilentAddress> {
    return [...this.byAddress.values()]
  }

  private add(row: ClientRow, now: number): void {
    const before = this.clients.get(row.client)
    this.clients.set(row.client, {
      bytesIn: (before?.bytesIn ?? 0) + row.bytesIn,
      bytesOut: (before?.bytesOut ?? 0) + row.bytesOut,
      refused: (before?.refused ?? 0) + row.refused,
      flows: row.flows,
      unusedAnswers: row.unusedAnswers,
      heardAt: row.heardAgo === null ? null : now - row.heardAgo,
      activeAt: row.activeAgo === null ? null : now - row.activeAgo
    })
  }

  private setAddress({ address, mapping, repliedAgo, sinceAgo, tries }: AddressRow, now: number): void {
    const key = `${mapping} ${address}`
    const before = this.byAddress.get(key)
    this.byAddress.delete(key)
    if (tries === 0) return
    const repliedAt = repliedAgo === null ? (before?.repliedAt ?? null) : now - repliedAgo
    this.byAddress.set(key, { mapping, address, tries, since: now - sinceAgo, repliedAt })
    if (this.byAddress.size > mostAddresses) this.byAddress.delete(this.byAddress.keys().next().value!)
  }

  /** Whoever knows our public key can name any key: those that were named often stay, the others make room for each other. */
  private meet(row: StrangerRow, now: number): void {
    const before = this.byKey.get(row.publicKey)
    if (before === undefined && this.byKey.size >= mostStrangers) {
      const [first, ...others] = this.byKey.values()
      const gone = others.reduce((least, each) => (isLesser(each, least, now) ? each : least), first!)
      this.byKey.delete(gone.publicKey)
    }
    this.byKey.set(row.publicKey, {
      ...row,
      handshakes: (before?.handshakes ?? 0) + row.handshakes,
      since: before?.since ?? now,
      latest: now
    })
  }
}

const isLesser = (a: Stranger, b: Stranger, now: number): boolean => {
  const isOld = (stranger: Stranger) => now - stranger.latest >= strangersKeptMs
  if (isOld(a) !== isOld(b)) return isOld(a)
  return a.handshakes !== b.handshakes ? a.handshakes < b.handshakes : a.latest < b.latest
}
