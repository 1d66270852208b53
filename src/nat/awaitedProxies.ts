import { copyWords, type Words, words } from "../packet/address.ts"
import { WordsIndex } from "./wordsIndex.ts"

export interface AwaitedProxiesLimits {
  /** Addresses of one client, and of the whole gateway. */
  readonly perClient: number
  readonly total: number
  /** Milliseconds from the first packet until none is waited for any more, and from then on until one may be again. */
  readonly awaitFor: number
  readonly refuseFor: number
  /** Milliseconds between two questions about one address. */
  readonly askEvery: number
}

const awaitedProxiesLimits: AwaitedProxiesLimits = {
  perClient: 32,
  total: 16_384,
  awaitFor: 2_000,
  refuseFor: 5_000,
  askEvery: 1_000
}

/**
 * Proxy addresses that clients send to before this gateway knows what they stand for: each is waited for once, then refused
 * for a while. Who sends to ever more of them gets a few rows, and for all others no answer but the ordinary one. A row is a
 * small number, valid until the address is `end`ed or forgotten.
 */
export class AwaitedProxies {
  private readonly limits: AwaitedProxiesLimits
  private readonly index = new WordsIndex()
  private readonly rows: Array<Row | undefined> = []
  private readonly free: Array<number> = []
  private readonly byClient = new Map<number, Set<number>>()

  constructor(limits: AwaitedProxiesLimits = awaitedProxiesLimits) {
    this.limits = limits
  }

  /** Of all clients, those that are refused included. */
  get size(): number {
    return this.index.size
  }

  /** The row of an address that is waited for, from now on if it is a new one; −1: it is refused, or there are too many. */
  waiting(client: number, proxy: Readonly<Words>, now: number): number {
    const found = this.index.get(client, proxy)
    const known = found < 0 ? undefined : this.rows[found]!
    if (known !== undefined && now < known.until) return known.refused ? -1 : found
    if (known?.refused === false) return -1
    if (known !== undefined) this.end(found)
    return this.begin(client, proxy, now)
  }

  /** Whether the question what it stands for is due; then it has been asked. */
  asks(row: number, now: number): boolean {
    const known = this.rows[row]!
    if (now - known.askedAt < this.limits.askEvery) return false
    known.askedAt = now
    return true
  }

  /** Nothing will come for the address. Its row, −1: it was not waited for. */
  refuse(client: number, proxy: Readonly<Words>, now: number): number {
    const row = this.index.get(client, proxy)
    if (row < 0 || this.rows[row]!.refused) return -1
    this.refuseRow(row, now)
    return row
  }

  clientOf(row: number): number {
    return this.rows[row]!.client
  }

  /** The client's rows whose addresses `stand` for something by now; they are ended. */
  endWhere(client: number, stand: (proxy: Readonly<Words>) => boolean): ReadonlyArray<number> {
    const rows = this.byClient.get(client)
    if (rows === undefined) return none
    const over = [...rows].filter((row) => stand(this.rows[row]!.proxy))
    for (const row of over) this.end(row)
    return over
  }

  /** Tells of each row whose time is up: it is refused from now on. Refusals that are over are forgotten. */
  expire(now: number, each: (row: number) => void): void {
    if (this.size === 0) return
    for (const [row, known] of this.rows.entries()) {
      if (known === undefined || now < known.until) continue
      if (known.refused) this.end(row)
      else {
        this.refuseRow(row, now)
        each(row)
      }
    }
  }

  /** Yields its rows, which are ended. */
  forgetClient(client: number): ReadonlyArray<number> {
    return this.endWhere(client, () => true)
  }

  private begin(client: number, proxy: Readonly<Words>, now: number): number {
    const { awaitFor, perClient, total } = this.limits
    const rows = this.byClient.get(client) ?? new Set()
    if (rows.size >= perClient || this.size >= total) return -1
    const row = this.free.pop() ?? this.rows.length
    const kept = words()
    copyWords(proxy, kept)
    this.rows[row] = { client, proxy: kept, until: now + awaitFor, refused: false, askedAt: Number.NEGATIVE_INFINITY }
    this.byClient.set(client, rows.add(row))
    this.index.set(client, proxy, row)
    return row
  }

  private refuseRow(row: number, now: number): void {
    const known = this.rows[row]!
    known.refused = true
    known.until = now + this.limits.refuseFor
  }

  private end(row: number): void {
    const { client, proxy } = this.rows[row]!
    this.index.delete(client, proxy)
    this.rows[row] = undefined
    this.free.push(row)
    const rows = this.byClient.get(client)!
    rows.delete(row)
    if (rows.size === 0) this.byClient.delete(client)
  }
}

interface Row {
  readonly client: number
  readonly proxy: Words
  /** Of what is waited for, and of what is `refused`. */
  until: number
  refused: boolean
  askedAt: number
}

const none: ReadonlyArray<number> = []
