import * as Schema from "effect/Schema"
import type { PortFilter } from "./PortFilter.ts"

/** In standalone the resource's name in `sallyport.yaml`; from a portal its UUID. */
export const ResourceId = Schema.String.pipe(Schema.brand("ResourceId"))
export type ResourceId = typeof ResourceId.Type

/** A destination class that policy refuses unless the resource opts in. */
export type DestinationOptIn = "gateway_host" | "loopback" | "link_local" | "metadata"

interface ResourceBase {
  readonly id: ResourceId
  readonly filters: ReadonlyArray<PortFilter>
  readonly allow: ReadonlyArray<DestinationOptIn>
}

export interface DnsResource extends ResourceBase {
  readonly kind: "dns"
  /** A name or a pattern, lower case, no trailing dot; see `DomainPattern`. */
  readonly pattern: string
  /** Which resolver set looks its names up; `system` unless configured. */
  readonly resolver: string
  /** The only family that is looked up and answered; both when left out. */
  readonly family?: 4 | 6
}

export interface CidrResource extends ResourceBase {
  readonly kind: "cidr"
  /** Canonical network text. */
  readonly network: string
  /** Which resolver set knows the reverse names of its addresses. */
  readonly resolver?: string
}

interface InternetResource extends ResourceBase {
  readonly kind: "internet"
}

/** What a client may reach. */
export type Resource = DnsResource | CidrResource | InternetResource
