import type { ClientId } from "../model/Client.ts"
import { type Mapping, MappingId } from "../model/Mapping.ts"
import type { ResourceId } from "../model/Resource.ts"

/**
 * Unique per gateway: `client/domain`, or `client/resource/domain` where the client may have the name more than once. A domain
 * has no slash; in the ids one is written `%2F`.
 */
export const mappingId = (client: ClientId, resource: ResourceId | null, domain: string): MappingId =>
  MappingId.make(`${escapeSlash(client)}/${resource === null ? "" : `${escapeSlash(resource)}/`}${domain}`)

/** The mappings of all clients, and which of them owns a client's proxy IP. */
export class MappingTable<E extends { readonly mapping: Mapping }> {
  private readonly entries = new Map<MappingId, E>()
  private readonly clients = new Map<ClientId, Map<MappingId, E>>()
  private readonly domains = new Map<string, ReadonlyArray<E>>()
  /** Of each client's proxy IPs. */
  private readonly owners = new Map<ClientId, Map<string, MappingId>>()

  get(id: MappingId): E | undefined {
    return this.entries.get(id)
  }

  all(): Iterable<E> {
    return this.entries.values()
  }

  of(client: ClientId): ReadonlyArray<E> {
    return Array.from(this.clients.get(client)?.values() ?? [])
  }

  /** The client's for the domain: one, unless it numbers its names by itself. */
  named(client: ClientId, domain: string): ReadonlyArray<E> {
    return this.domains.get(`${domain} ${client}`) ?? []
  }

  countOf(client: ClientId): number {
    return this.clients.get(client)?.size ?? 0
  }

  add(entry: E): void {
    const { id, client } = entry.mapping
    this.entries.set(id, entry)
    const { domain } = entry.mapping.name
    this.domains.set(`${domain} ${client}`, [...this.named(client, domain), entry])
    const siblings = this.clients.get(client)
    if (siblings === undefined) this.clients.set(client, new Map([[id, entry]]))
    else siblings.set(id, entry)
  }

  remove(entry: E): void {
    const { id, client } = entry.mapping
    this.disown(entry.mapping)
    this.entries.delete(id)
    const { domain } = entry.mapping.name
    const others = this.named(client, domain).filter((other) => other !== entry)
    if (others.length > 0) this.domains.set(`${domain} ${client}`, others)
    else this.domains.delete(`${domain} ${client}`)
    const siblings = this.clients.get(client)
    siblings?.delete(id)
    if (siblings?.size === 0) this.clients.delete(client)
  }

  /** Makes the mapping the owner of its proxies; returns those that owned one before. */
  own(mapping: Mapping): ReadonlyArray<MappingId> {
    const robbed = new Set<MappingId>()
    const owners = this.owners.get(mapping.client) ?? new Map<string, MappingId>()
    this.owners.set(mapping.client, owners)
    for (const proxy of mapping.proxyIps) {
      const owner = owners.get(proxy)
      if (owner !== undefined && owner !== mapping.id) robbed.add(owner)
      owners.set(proxy, mapping.id)
    }
    return Array.from(robbed)
  }

  ownerOf(client: ClientId, proxyIp: string): E | undefined {
    const id = this.owners.get(client)?.get(proxyIp)
    return id === undefined ? undefined : this.entries.get(id)
  }

  disown({ client, id, proxyIps }: Mapping): void {
    const owners = this.owners.get(client)
    for (const proxy of proxyIps) if (owners?.get(proxy) === id) owners.delete(proxy)
    if (owners?.size === 0) this.owners.delete(client)
  }
}

const escapeSlash = (text: string): string => text.replaceAll("%", "%25").replaceAll("/", "%2F")
