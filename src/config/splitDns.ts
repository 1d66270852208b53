/** Which names a client asks the gateway for when it asks somebody else for all others. Pure. */
import { parentName } from "../dns/name.ts"
import { isPrivateDomain, isPrivateTop } from "../dns/privateZones.ts"
import { domainOf, isExact } from "../model/DomainPattern.ts"
import type { ClientId } from "../model/Client.ts"
import { type GatewayConfig, rightsElsewhere, rightsIn } from "./GatewayConfig.ts"

/** As many, search domains included, are taken by systemd-resolved for a device. */
export const maxSplitDomains = 256

/**
 * The domains of what the client may reach by name, of zones and records, sorted; none that lies in another one or in a
 * search domain. "." where a pattern may be anywhere (`lab.**`).
 */
export const splitDomains = (config: GatewayConfig, client: ClientId): ReadonlyArray<string> => {
  const elsewhere = (config.sites?.all ?? []).flatMap((site) => rightsElsewhere(config, client, site))
  const domains = [
    ...[...rightsIn(config, client), ...elsewhere].flatMap(({ resource }) =>
      resource.kind === "dns" ? [around(resource.pattern)] : []
    ),
    ...config.zones.flatMap(({ clients, domain }) => (clients === null || clients.has(client) ? [domain] : [])),
    ...config.records.keys()
  ]
  const search = new Set(config.search)
  const all = new Set([...domains, ...search])
  return [...all].filter((domain) => !search.has(domain) && !liesIn(domain, all)).sort()
}

/** Whether the domain is below one of these. */
const liesIn = (domain: string, domains: ReadonlySet<string>): boolean => {
  for (let above = domain; above !== ".";) {
    above = parentName(above)
    if (domains.has(above)) return true
  }
  return false
}

/**
 * What no public server knows goes by its domain, so that the client's file outlives further resources there. Of a public
 * domain only what the resource covers: its other names are others' business.
 */
const around = (pattern: string): string => {
  const domain = domainOf(pattern)
  const isOurs = isPrivateDomain(domain) && !isPrivateTop(domain)
  return isExact(pattern) && !isOurs ? pattern : domain
}
