/**
 * Which names have sessions, for clients with so many names that main will soon let go of the least recently used one:
 * main sees questions, the worker sees traffic.
 */
import type { MappingId } from "../../model/Mapping.ts"
import type { EngineState } from "./engineState.ts"

const intervalMs = 10_000
/** Half of what a client may have: at the rate that questions are answered at, several notices come before the bound. */
const manyNames = 2_048

export class NamesInUse {
  private readonly state: EngineState
  private dueAt = 0

  constructor(state: EngineState) {
    this.state = state
  }

  tellDue(): void {
    const { clients, epoch, mappings, notices, now, sessions } = this.state
    if (now < this.dueAt) return
    this.dueAt = now + intervalMs
    for (const client of clients.all()) {
      if (client.mappings.size < manyNames) continue
      const inUse: Array<MappingId> = []
      for (const mapping of client.mappings) {
        const name = sessions.uses(mapping) ? mappings.name(mapping) : undefined
        if (name !== undefined) inUse.push(name)
      }
      if (inUse.length > 0) notices.put({ _tag: "InUse", epoch, client: client.id, mappings: inUse })
    }
  }
}
