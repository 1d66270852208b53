/** Which DNS resources a client's question falls under. Pure. */
import type { GatewayConfig } from "../../config/GatewayConfig.ts"
import { isWithin } from "../../dns/name.ts"
import type { Authorization } from "../../model/Authorization.ts"
import { compareSpecificity, matcherOf } from "../../model/DomainPattern.ts"
import type { DnsResource, Resource } from "../../model/Resource.ts"

export interface DnsGrant extends Authorization {
  readonly resource: DnsResource
}

/** The client's grants for DNS resources, the most specific pattern first; among equals the order given. */
export const dnsGrants = (grants: ReadonlyArray<Authorization>): ReadonlyArray<DnsGrant> =>
  grants
    .flatMap((grant) => (grant.resource.kind === "dns" ? [{ ...grant, resource: grant.resource }] : []))
    .toSorted((a, b) => compareSpecificity(a.resource.pattern, b.resource.pattern))

/** The grants that cover the name and have not expired, the most specific first: it says who looks the name up. */
export const coveringGrants = (
  grants: ReadonlyArray<DnsGrant>,
  domain: string,
  now: number
): ReadonlyArray<DnsGrant> => {
  const isCoveredBy = matcherOf(domain)
  return grants.filter((g) => isOpen(g, now) && isCoveredBy(g.resource.pattern))
}

/** Whether a grant has not expired. */
export const isOpen = ({ expiresAt }: Pick<Authorization, "expiresAt">, now: number): boolean =>
  expiresAt === null || expiresAt > now

/** Whether any resource at all covers the name: it is private then, whoever asks. */
export const isPrivateName = (resources: ReadonlyArray<Resource>, domain: string): boolean => {
  const isCoveredBy = matcherOf(domain)
  return resources.some((r) => r.kind === "dns" && isCoveredBy(r.pattern))
}

/** The resolver set of the most specific resource that covers a name, or of the smallest zone; `null`: nobody has said. */
export const setOfName = ({
  resources,
  zones
}: Pick<GatewayConfig, "resources" | "zones">): ((domain: string) => string | null) => {
  const named = resources
    .filter((resource) => resource.kind === "dns")
    .toSorted((a, b) => compareSpecificity(a.pattern, b.pattern))
  const smallest = zones.toSorted((a, b) => b.domain.length - a.domain.length)
  return (domain) => {
    const isCoveredBy = matcherOf(domain)
    const resource = named.find(({ pattern }) => isCoveredBy(pattern))
    return (resource ?? smallest.find((zone) => isWithin(domain, zone.domain)))?.resolver ?? null
  }
}
