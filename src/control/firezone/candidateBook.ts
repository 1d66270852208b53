/**
 * Our candidates on their way to the clients: what changed since the portal was last told. While the portal is away only
 * the latest state of each candidate is kept.
 */
import type { ClientId } from "../../model/Client.ts"
import { broadcastCandidates, broadcastInvalidated, type Push } from "./pushes.ts"

/** Changes kept per client; a connection has a handful of candidates. */
const maxPerClient = 64

interface Changes {
  readonly found: Set<string>
  readonly lost: Set<string>
}

export class CandidateBook {
  private readonly clients = new Map<ClientId, Changes>()

  found(client: ClientId, candidate: string): void {
    const changes = this.changesOf(client)
    changes.lost.delete(candidate)
    add(changes.found, candidate)
  }

  lost(client: ClientId, candidate: string): void {
    const changes = this.changesOf(client)
    changes.found.delete(candidate)
    // Also one that was never told: it may have been, before it was found again.
    add(changes.lost, candidate)
  }

  /** The client's connection is gone or made anew: candidates of the old one are of no use. */
  forget(client: ClientId): void {
    this.clients.delete(client)
  }

  /** One message per client and kind, candidates sorted; nothing is left. */
  take(): ReadonlyArray<Push> {
    const messages: Array<Push> = []
    for (const [client, { found, lost }] of this.clients) {
      if (lost.size > 0) messages.push(broadcastInvalidated(client, [...lost].toSorted()))
      if (found.size > 0) messages.push(broadcastCandidates(client, [...found].toSorted()))
    }
    this.clients.clear()
    return messages
  }

  private changesOf(client: ClientId): Changes {
    const known = this.clients.get(client)
    if (known !== undefined) return known
    const changes: Changes = { found: new Set(), lost: new Set() }
    this.clients.set(client, changes)
    return changes
  }
}

/** The newest stay. */
const add = (set: Set<string>, candidate: string): void => {
  set.delete(candidate)
  set.add(candidate)
  for (const oldest of set) {
    if (set.size <= maxPerClient) return
    set.delete(oldest)
  }
}
