/** The clients of the packet path, found by index, by name and by tunnel address. */
import type { ClientId } from "../../model/Client.ts"
import type { ResourceId } from "../../model/Resource.ts"
import type { FilterSet } from "../../nat/portFilters.ts"
import { isIpv4, type Words } from "../../packet/address.ts"
import type { Peer } from "../../wireguard/WireGuard.ts"
import { Interner } from "./interner.ts"
import { Stage } from "./stage.ts"

/** A resource as one client may use it. */
export interface ClientResource {
  readonly id: ResourceId
  readonly index: number
  readonly kind: "dns" | "cidr" | "internet"
  readonly filters: FilterSet
  /** Destination opt-ins as bits. */
  readonly optIns: number
}

export interface ClientEntry {
  readonly index: number
  readonly id: ClientId
  peer: Peer
  readonly tunnel4: Readonly<Words>
  readonly tunnel6: Readonly<Words>
  readonly resources: Map<number, ClientResource>
  readonly mappings: Set<number>
  /** Packets that wait for a WireGuard session. */
  readonly stage: Stage
}

export class ClientTable {
  private readonly names = new Interner<ClientId>()
  private readonly entries: Array<ClientEntry | undefined> = []
  private readonly by4 = new Map<number, ClientEntry>()
  /** By the last word; the few that share it are told apart by comparison. */
  private readonly by6 = new Map<number, Array<ClientEntry>>()

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

  *all(): Iterable<ClientEntry> {
    for (const entry of this.entries) if (entry !== undefined) yield entry
  }

  indexFor(id: ClientId): number {
    return this.names.add(id)
  }

  add(index: number, id: ClientId, peer: Peer, tunnel4: Words, tunnel6: Words): ClientEntry {
    const entry: ClientEntry = {
      index,
      id,
      peer,
      tunnel4,
      tunnel6,
      resources: new Map(),
      mappings: new Set(),
      stage: new Stage()
    }
    this.entries[index] = entry
    this.by4.set(tunnel4.w3, entry)
    this.by6.set(tunnel6.w3, [...(this.by6.get(tunnel6.w3) ?? []), entry])
    return entry
  }

  remove(entry: ClientEntry): void {
    this.entries[entry.index] = undefined
    if (this.by4.get(entry.tunnel4.w3) === entry) this.by4.delete(entry.tunnel4.w3)
    const rest = (this.by6.get(entry.tunnel6.w3) ?? []).filter((other) => other !== entry)
    if (rest.length === 0) this.by6.delete(entry.tunnel6.w3)
    else this.by6.set(entry.tunnel6.w3, rest)
    this.names.remove(entry.id)
  }
}
