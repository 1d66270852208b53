/** The clients of the packet path, found by index, by name and by tunnel address. */
import type { IceAgent } from "../../ice/IceAgent.ts"
import type { ClientId } from "../../model/Client.ts"
import type { ResourceId } from "../../model/Resource.ts"
import type { FilterSet } from "../../nat/portFilters.ts"
import { isIpv4, type Network, type Words, words } from "../../packet/address.ts"
import type { Peer } from "../../wireguard/WireGuard.ts"
import { Interner } from "./interner.ts"
import { Stage } from "./stage.ts"

/** A resource as one client may use it. */
export interface ClientResource {
  readonly id: ResourceId
  readonly index: number
  readonly kind: "dns" | "cidr" | "internet"
  /** Of a CIDR resource. */
  readonly network: Network | null
  readonly filters: FilterSet
  /** Destination opt-ins as bits. */
  readonly optIns: number
}

export interface ClientEntry {
  readonly index: number
  readonly id: ClientId
  /** Of its last order: its number, that of its connection, and that of its flows. */
  number: number
  connection: number
  flows: number
  peer: Peer
  /** Whether ICE finds the path to it, and the agent while it does. */
  byIce: boolean
  agent: IceAgent | undefined
  tunnel4: Readonly<Words>
  tunnel6: Readonly<Words>
  readonly resources: Map<number, ClientResource>
  readonly mappings: Set<number>
  /** Packets that wait for a WireGuard session. */
  readonly stage: Stage
  /** When its state was last told to main. */
  toldAt: number
  /** With its next handshake here it comes from elsewhere, or from before this engine. */
  arrives: boolean
  /** When it came so, in monotonic milliseconds. */
  arrivedAt: number
  /** Packets of it that went no further. */
  refused: number
}

export class ClientTable {
  private readonly names = new Interner<ClientId>()
  private readonly entries: Array<ClientEntry | undefined> = []
  private readonly by4 = new Map<number, ClientEntry>()
  /** By the last word; the few that share it are told apart by comparison. */
  private readonly by6 = new Map<number, ReadonlyArray<ClientEntry>>()

  get(index: number): ClientEntry | undefined {
    return this.entries[index]
  }

  find(id: ClientId): ClientEntry | undefined {
    const index = this.names.find(id)
    return index < 0 ? undefined : this.entries[index]
  }

  /** Who owns a tunnel address. */
  owner(address: Readonly<Words>): ClientEntry | undefined {
    if (isIpv4(address)) return this.by4.get(address.w3)
    const candidates = this.by6.get(address.w3)
    if (candidates === undefined) return undefined
    for (const entry of candidates) {
      const t = entry.tunnel6
      if (t.w0 === address.w0 && t.w1 === address.w1 && t.w2 === address.w2) return entry
    }
    return undefined
  }

  /** Indices are below this; not each of them has a client. */
  get end(): number {
    return this.entries.length
  }

  all(): ReadonlyArray<ClientEntry> {
    return this.entries.filter((entry) => entry !== undefined)
  }

  /** Called for each client before it goes: what is kept by its index goes with it. */
  onRemoved(forget: (client: ClientEntry) => void): void {
    this.names.onRemoved((index) => forget(this.entries[index]!))
  }

  /** A client without addresses. */
  add(id: ClientId, peer: Peer): ClientEntry {
    const index = this.names.retain(id)
    const entry: ClientEntry = {
      index,
      id,
      number: 0,
      connection: 0,
      flows: 0,
      peer,
      byIce: false,
      agent: undefined,
      tunnel4: nowhere,
      tunnel6: nowhere,
      resources: new Map(),
      mappings: new Set(),
      stage: new Stage(),
      toldAt: Number.NEGATIVE_INFINITY,
      arrives: true,
      arrivedAt: Number.NEGATIVE_INFINITY,
      refused: 0
    }
    this.entries[index] = entry
    return entry
  }

  /** The client goes on under these tunnel addresses. */
  place(entry: ClientEntry, tunnel4: Words, tunnel6: Words): void {
    this.displace(entry)
    entry.tunnel4 = tunnel4
    entry.tunnel6 = tunnel6
    this.by4.set(tunnel4.w3, entry)
    this.by6.set(tunnel6.w3, [entry, ...(this.by6.get(tunnel6.w3) ?? [])])
  }

  /** The client has no addresses any more. */
  displace(entry: ClientEntry): void {
    if (this.by4.get(entry.tunnel4.w3) === entry) this.by4.delete(entry.tunnel4.w3)
    const rest = (this.by6.get(entry.tunnel6.w3) ?? []).filter((other) => other !== entry)
    if (rest.length === 0) this.by6.delete(entry.tunnel6.w3)
    else this.by6.set(entry.tunnel6.w3, rest)
    entry.tunnel4 = nowhere
    entry.tunnel6 = nowhere
  }

  remove(id: ClientId): void {
    const entry = this.find(id)
    if (entry === undefined) return
    this.names.remove(id)
    this.displace(entry)
    this.entries[entry.index] = undefined
  }
}

/** No source of a packet: a client without a session sends none. */
const nowhere: Readonly<Words> = words()
