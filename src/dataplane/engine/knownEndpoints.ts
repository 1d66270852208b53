/**
 * Where each client was last, found by the source of a datagram: clients with a session here, those that had one, and those
 * that another gateway told of. Neither a look-up nor a move allocates anything.
 */
import { hashFlow } from "../../nat/hashIndex.ts"
import { equal } from "../../packet/address.ts"
import type { Endpoint } from "../../packet/endpoint.ts"
import type { Peer } from "../../wireguard/WireGuard.ts"
import { CallBudget } from "./callBudget.ts"
import type { ClientEntry } from "./clientTable.ts"

export class EndpointRow {
  readonly client: ClientEntry
  /** The budget is of this one. */
  readonly peer: Peer
  readonly budget = new CallBudget()
  /** When it was told that another gateway had the client last; monotonic milliseconds. */
  elsewhereAt = Number.NEGATIVE_INFINITY
  /** Of the endpoint, when it was put into its chain. */
  hash = 0
  chained = false
  /** Who came into its chain before it, and after it. */
  older: EndpointRow | undefined = undefined
  newer: EndpointRow | undefined = undefined

  constructor(client: ClientEntry) {
    this.client = client
    this.peer = client.peer
  }
}

export class KnownEndpoints {
  private readonly seed: number
  /** By client. */
  private readonly rows: Array<EndpointRow | undefined> = []
  /** Those whose hashes end alike, who came last first. As many chains as rows at least, a power of two. */
  private chains: Array<EndpointRow | undefined> = noChains(64)
  private chained = 0

  constructor(seed: number) {
    this.seed = seed
  }

  /** The client is where its peer's endpoint is now, if it has one. */
  put(client: ClientEntry): EndpointRow {
    const known = this.rows[client.index]
    const { peer } = client
    const hash = this.hashOf(peer.endpoint)
    if (known?.peer === peer && known.chained === peer.hasEndpoint && known.hash === hash) return known
    if (known !== undefined) this.unchain(known)
    const row = known?.peer === peer ? known : new EndpointRow(client)
    this.rows[client.index] = row
    row.hash = hash
    if (peer.hasEndpoint) this.chain(row)
    return row
  }

  forgetClient(index: number): void {
    const row = this.rows[index]
    if (row === undefined) return
    this.unchain(row)
    this.rows[index] = undefined
  }

  /** Who came there last or, of those, before `than`; `undefined`: nobody. */
  find(from: Readonly<Endpoint>, than?: EndpointRow): EndpointRow | undefined {
    if (this.chained === 0) return undefined
    let row = than === undefined ? this.chains[this.chainOf(this.hashOf(from))] : than.older
    while (row !== undefined && !(row.peer.hasEndpoint && isThere(row.peer.endpoint, from))) row = row.older
    return row
  }

  private hashOf({ port, remote }: Readonly<Endpoint>): number {
    return hashFlow(this.seed, 0, 0, remote, port)
  }

  private chainOf(hash: number): number {
    return hash & (this.chains.length - 1)
  }

  private chain(row: EndpointRow): void {
    if (this.chained === this.chains.length) this.grow()
    const at = this.chainOf(row.hash)
    const last = this.chains[at]
    row.older = last
    if (last !== undefined) last.newer = row
    this.chains[at] = row
    row.chained = true
    this.chained++
  }

  private unchain(row: EndpointRow): void {
    if (!row.chained) return
    const { newer, older } = row
    if (newer === undefined) this.chains[this.chainOf(row.hash)] = older
    else newer.older = older
    if (older !== undefined) older.newer = newer
    row.newer = undefined
    row.older = undefined
    row.chained = false
    this.chained--
  }

  private grow(): void {
    const before = this.chains
    this.chains = noChains(before.length * 2)
    this.chained = 0
    for (const last of before) {
      const rows: Array<EndpointRow> = []
      for (let row = last; row !== undefined; row = row.older) rows.push(row)
      for (const row of rows.toReversed()) {
        row.newer = undefined
        this.chain(row)
      }
    }
  }
}

/** Whether by another gateway or not: below 0 are no relays' channels. */
const isThere = (a: Readonly<Endpoint>, b: Readonly<Endpoint>): boolean =>
  a.port === b.port && Math.max(a.channel, 0) === Math.max(b.channel, 0) && equal(a.remote, b.remote)

const noChains = (size: number): Array<EndpointRow | undefined> =>
  Array.from<EndpointRow | undefined>({ length: size }).fill(undefined)
