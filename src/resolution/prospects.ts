import type { ClientId } from "../model/Client.ts"
import type { MappingEntry } from "./nameEntry.ts"

/** More of one client are not remembered. */
const mostOfClient = 1_024

/** Mappings that have no proxies yet, if ever, since their names may not exist: of each client those it asked about last. */
export class Prospects {
  /** Those asked about last are last. */
  private readonly clients = new Map<ClientId, Set<MappingEntry>>()

  /** The client asks about it. Returns the one that is too many now, if any. */
  asked(entry: MappingEntry): MappingEntry | undefined {
    const { client } = entry.mapping
    const all = this.clients.get(client) ?? new Set()
    this.clients.set(client, all)
    all.delete(entry)
    all.add(entry)
    return all.size > mostOfClient ? all.values().next().value : undefined
  }

  /** It has proxies, or nobody wants it any more. */
  forget(entry: MappingEntry): void {
    const { client } = entry.mapping
    const all = this.clients.get(client)
    if (all?.delete(entry) === true && all.size === 0) this.clients.delete(client)
  }

  countOf(client: ClientId): number {
    return this.clients.get(client)?.size ?? 0
  }
}
