/** What a client's questions about names of resources came to: decided once, not for each question. Pure. */
import type { DnsRight } from "./chooseResource.ts"
import type { NameRights, NameRoutes } from "./nameRoutes.ts"
import { maxNames } from "./nameTable.ts"

interface Decided {
  readonly grants: ReadonlyArray<DnsRight>
  /** Epoch milliseconds: no grant that covers the name begins or ends between these, be the clock set back. */
  readonly since: number
  readonly until: number
}

/** Of one client. Other rights or other routes, and nothing is decided any more. */
export class DecidedNames {
  private readonly decided = new Map<string, Decided>()
  private routes: NameRoutes | undefined
  private rights: NameRights | undefined

  /** The grants that cover the name, if the last decision still holds. */
  find(domain: string, routes: NameRoutes, rights: NameRights, now: number): ReadonlyArray<DnsRight> | undefined {
    if (routes !== this.routes || rights !== this.rights) return undefined
    const known = this.decided.get(domain)
    return known !== undefined && now >= known.since && now < known.until ? known.grants : undefined
  }

  /** `NameRoutes.route` says so just now. */
  note(domain: string, routes: NameRoutes, rights: NameRights, now: number, grants: ReadonlyArray<DnsRight>): void {
    if (routes !== this.routes || rights !== this.rights) this.decided.clear()
    this.routes = routes
    this.rights = rights
    const until = Math.min(...grants.map(({ expiresAt }) => expiresAt ?? Number.POSITIVE_INFINITY))
    this.decided.delete(domain)
    this.decided.set(domain, { grants, since: now, until })
    if (this.decided.size > maxNames) this.decided.delete(this.decided.keys().next().value!)
  }
}
