/** The peer's candidates as one agent knows them: told, learned from requests, and removed. All bounded. */
import { formatTransport, sameTransport, type TransportAddress } from "../packet/transportAddress.ts"
import type { Candidate } from "./candidate.ts"

const maxRemoteCandidates = 100

export class RemoteCandidates {
  readonly list: Array<Candidate> = []
  private readonly discarded = new Set<string>()

  at(address: TransportAddress): Candidate | undefined {
    return this.list.find((candidate) => sameTransport(candidate.address, address))
  }

  /** True when the candidate at this address was removed: its requests are ignored. */
  isDiscarded(address: TransportAddress): boolean {
    return this.discarded.has(formatTransport(address))
  }

  /**
   * Adds a candidate. At an address already known it takes the place of one learned from requests, or of one with a lower
   * priority. False when it brings nothing new or there are too many.
   */
  add(candidate: Candidate): boolean {
    this.discarded.delete(formatTransport(candidate.address))
    const index = this.list.findIndex((known) => sameTransport(known.address, candidate.address))
    const known = this.list[index]
    if (known === undefined) {
      if (this.list.length >= maxRemoteCandidates) return false
      this.list.push(candidate)
      return true
    }
    if (known.kind !== "prflx" && known.priority >= candidate.priority) return false
    this.list[index] = candidate
    return true
  }

  /** Forgets one learned from requests. */
  forget(candidate: Candidate): void {
    const index = this.list.indexOf(candidate)
    if (index >= 0) this.list.splice(index, 1)
  }

  /** Removes the candidate, and ignores its address from now on. Returns the one that was known. */
  discard(candidate: Candidate): Candidate | undefined {
    const known = this.at(candidate.address)
    if (known !== undefined && known.kind !== candidate.kind && known.kind !== "prflx") return undefined
    if (known !== undefined) this.forget(known)
    this.discarded.add(formatTransport(candidate.address))
    if (this.discarded.size > maxRemoteCandidates) this.discarded.delete(this.discarded.values().next().value!)
    return known
  }
}
