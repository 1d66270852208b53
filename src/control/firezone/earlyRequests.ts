/** Generation A: `allow_access` that came before its client's `request_connection`. */
import type { ListedAuthorization } from "../../access/Authorizations.ts"
import type { ClientId } from "../../model/Client.ts"
import type { Resource, ResourceId } from "../../model/Resource.ts"
import type { AllowAccess } from "./messages.ts"

/** Kept at most; the oldest are forgotten, and their clients ask again. */
const maxEarly = 1_024

export class EarlyRequests {
  private requests: Array<AllowAccess> = []

  /** The last word on a resource and name holds. */
  add(request: AllowAccess): void {
    const others = this.requests.filter((known) => !sameAccess(known, request))
    this.requests = [...others, request].slice(-maxEarly)
  }

  /** In the order in which they came. */
  take(client: ClientId): ReadonlyArray<AllowAccess> {
    const taken = this.requests.filter((request) => request.client === client)
    if (taken.length > 0) this.requests = this.requests.filter((request) => request.client !== client)
    return taken
  }

  reject(client: ClientId, resource: ResourceId): void {
    this.requests = this.requests.filter((known) => known.client !== client || known.resource.id !== resource)
  }

  update(resource: Resource): void {
    this.requests = this.requests.map((known) => (known.resource.id === resource.id ? { ...known, resource } : known))
  }

  setExpiry({ client, expiresAt, resource }: ListedAuthorization): void {
    this.requests = this.requests.map((known) =>
      known.client === client && known.resource.id === resource ? { ...known, expiresAt } : known
    )
  }

  keepOnly(grants: ReadonlyArray<ListedAuthorization>): void {
    if (this.requests.length === 0) return
    const listed = new Set(grants.map((grant) => `${grant.client} ${grant.resource}`))
    this.requests = this.requests.filter((known) => listed.has(`${known.client} ${known.resource.id}`))
  }
}

const sameAccess = (a: AllowAccess, b: AllowAccess): boolean =>
  a.client === b.client && a.resource.id === b.resource.id && a.name?.domain === b.name?.domain
