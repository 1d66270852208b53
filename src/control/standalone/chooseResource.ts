/** Which DNS resources a client's question falls under. Pure. */
import type { GatewayConfig } from "../../config/GatewayConfig.ts"
import { isWithin } from "../../dns/name.ts"
import { isOpen, type Right } from "../../model/Authorization.ts"
import { PatternIndex } from "../../model/DomainPattern.ts"
import type { DnsResource, Resource } from "../../model/Resource.ts"
import { byPrecedence } from "../../resolution/cover.ts"

export interface DnsRight extends Right {
  readonly resource: DnsResource
}

export const isOfName = (right: Right): right is DnsRight => right.resource.kind === "dns"

/** The grants for these resources that have not expired, in the order of the grants. */
export const openGrants = (
  grants: ReadonlyArray<DnsRight>,
  resources: ReadonlyArray<DnsResource>,
  now: number
): ReadonlyArray<DnsRight> =>
  resources.length === 0
    ? []
    : grants.filter((grant) => isOpen(grant, now) && resources.some(({ id }) => id === grant.resource.id))

/** Which of the DNS resources cover a name, the most specific first. A name that any covers is private, whoever asks. */
export const indexOf = (resources: ReadonlyArray<Resource>): PatternIndex<DnsResource> =>
  new PatternIndex(
    resources.filter((resource) => resource.kind === "dns").toSorted(byPrecedence),
    ({ pattern }) => pattern
  )

/** The resolver set of the most specific resource that covers a name, or of the smallest zone; `null`: nobody has said. */
export const setOfName = ({
  resources,
  zones
}: Pick<GatewayConfig, "resources" | "zones">): ((domain: string) => string | null) => {
  const named = indexOf(resources)
  const smallest = zones.toSorted((a, b) => b.domain.length - a.domain.length)
  return (domain) =>
    (named.covering(domain)[0] ?? smallest.find((zone) => isWithin(domain, zone.domain)))?.resolver ?? null
}
