/** Who knows the names around the resources of a file. Pure. */
import { parentName } from "../../dns/name.ts"
import { isPrivateDomain, isPrivateTop } from "../../dns/privateZones.ts"
import { domainOf } from "../../model/DomainPattern.ts"
import type { DnsResource, ResourceId } from "../../model/Resource.ts"

/** A domain that holds resources, and that no public server knows. */
export interface HeldDomain {
  readonly domain: string
  /** Those in it, or in a domain below it. */
  readonly resources: ReadonlySet<ResourceId>
  /** The set of those in it, or, without any, of those below; `null` when they have several, or none that this site serves. */
  readonly resolver: string | null
}

/** @param elsewhere those of other sites, whose resolvers are there, too */
export const heldDomains = (
  resources: ReadonlyArray<DnsResource>,
  elsewhere: ReadonlyArray<DnsResource> = []
): ReadonlyMap<string, HeldDomain> => {
  const found = new Map<string, { own: Set<string>; below: Set<string>; resources: Set<ResourceId> }>()
  const all = [...resources, ...elsewhere.map((resource) => ({ ...resource, resolver: null }))]
  for (const { id, pattern, resolver } of all) {
    const own = domainOf(pattern)
    for (let at = own; isPrivateDomain(at) && (at === own || !isPrivateTop(at)); at = parentName(at)) {
      const domain = found.get(at) ?? { own: new Set(), below: new Set(), resources: new Set() }
      found.set(at, domain)
      domain.resources.add(id)
      if (resolver !== null) domain[at === own ? "own" : "below"].add(resolver)
    }
  }
  return new Map(
    [...found].map(([at, { below, own, resources }]) => [
      at,
      { domain: at, resources, resolver: onlyOne(own.size > 0 ? own : below) }
    ])
  )
}

/** Who knows the reverse names of a local network that says nothing of it; `null` when the file leaves it open. */
export const reverseResolverOf = (resources: ReadonlyArray<DnsResource>): string | null => {
  const sets = new Set(resources.map(({ resolver }) => resolver).filter((set) => set !== "system"))
  return sets.size === 0 ? "system" : onlyOne(sets)
}

const onlyOne = <A>(items: ReadonlySet<A>): A | null => (items.size === 1 ? [...items][0]! : null)
