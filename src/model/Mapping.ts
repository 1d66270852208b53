import * as Schema from "effect/Schema"
import type { ClientId } from "./Client.ts"
import type { ResourceId } from "./Resource.ts"

/** `client/domain`, or `client/resource/domain`, unique per gateway. */
export const MappingId = Schema.String.pipe(Schema.brand("MappingId"))
export type MappingId = typeof MappingId.Type

/** What is looked up, cached and backed off: a domain at a resolver set, where a resource says so for one family only. */
export interface Name {
  readonly resolver: string
  /** Lower case, no trailing dot. */
  readonly domain: string
  readonly family?: 4 | 6
}

/** One string per name, for use as a key. */
export const nameKey = (name: Name): string => `${name.resolver} ${name.domain} ${name.family ?? ""}`

/** (client, domain) with its proxy IPs; subscribes to a name. */
export interface Mapping {
  readonly id: MappingId
  readonly client: ClientId
  /** The client's resources that cover the domain, the most specific first; of a withdrawn mapping the last ones that did. */
  readonly resources: ReadonlyArray<ResourceId>
  readonly name: Name
  /** Canonical address texts, both families, sorted as given. */
  readonly proxyIps: ReadonlyArray<string>
  /** Ownership of the proxies: grows only when that changes. */
  readonly generation: number
}
