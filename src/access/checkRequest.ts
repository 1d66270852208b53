import { AccessRefused, type AccessRequest } from "../model/AccessRequest.ts"
import { isOpen } from "../model/Authorization.ts"
import { canonicalDomain, matches } from "../model/DomainPattern.ts"
import type { DnsResource } from "../model/Resource.ts"
import { formatAddress, parseAddress, type Words } from "../packet/address.ts"

/** More proxy IPs than this for one name are an error of the control plane (clients use four per family). */
const maxProxies = 64

/** What of a request is used once it is known to be fine. */
export interface CheckedName {
  readonly domain: string
  readonly resource: DnsResource
  /** Canonical, without duplicates, in the order given; empty when there are none yet. */
  readonly proxyIps: ReadonlyArray<string>
}

/**
 * Whether a request may be granted, before anything is changed: not expired, and for a name that the resource is a DNS
 * resource whose pattern covers it and that every proxy IP is one of the proxy ranges. `null`: fine, without a name.
 */
export const checkRequest = (
  request: AccessRequest,
  now: number,
  isProxy: (address: Readonly<Words>) => boolean
): CheckedName | AccessRefused | null => {
  const { client, resource, name } = request
  const refuse = (reason: AccessRefused["reason"]) =>
    new AccessRefused({ reason, client: client.id, resource: resource.id, domain: name?.domain ?? null })
  if (!isOpen(request, now)) return refuse("Expired")
  if (name === null) return null
  if (resource.kind !== "dns") return refuse("NotADnsResource")
  const domain = canonicalDomain(name.domain)
  if (domain === undefined || !matches(resource.pattern, domain)) return refuse("DomainMismatch")
  if (name.proxyIps === null) return { domain, resource, proxyIps: [] }
  if (name.proxyIps.length === 0) return refuse("NoProxies")
  if (name.proxyIps.length > maxProxies) return refuse("ProxyOutOfRange")
  const proxyIps = new Set<string>()
  for (const text of name.proxyIps) {
    const address = parseAddress(text)
    if (address === undefined || !isProxy(address)) return refuse("ProxyOutOfRange")
    proxyIps.add(formatAddress(address))
  }
  return { domain, resource, proxyIps: Array.from(proxyIps) }
}
