/** What a client is told about a name it may reach, from the acceptor's reply. Pure. */
import type { TunnelAnswer } from "../../dns/tunnelAnswer.ts"
import type { NameState } from "../../resolution/NameState.ts"

/** Seconds that a client may keep a proxy IP. */
export const proxyTtl = 30
/** A negative answer is never kept longer than this many seconds. */
const maxNegativeTtl = 60

/** Seconds for IPv6 proxies of a name of which nothing is known: it may turn out to have IPv4 only. */
const unknownTtl = 2

/** What the gateway's host has of IPv6. */
export interface WaysOut6 {
  /** It can forward to some IPv6 address. */
  readonly some: boolean
  /** And to this one. */
  readonly leadsTo: (address: string) => boolean
}

/**
 * The proxy IPs, whatever the upstream does. Only what is known is said: NXDOMAIN, stale or not, as long as no lookup said
 * otherwise, and NODATA for a family that is known to be empty, or to lead nowhere from the gateway's host; `only`: what the resource is for.
 */
export const tunnelAnswerOf = (
  state: NameState,
  family: 4 | 6,
  proxyIps: ReadonlyArray<string>,
  now: number,
  ways: WaysOut6,
  only: 4 | 6 | undefined
): TunnelAnswer => {
  if (state._tag === "Unresolved") {
    const ttl = Math.max(1, Math.min(maxNegativeTtl, Math.ceil((state.negativeUntil - now) / 1_000)))
    if (state.reason._tag === "NameNotFound") return { _tag: "NameError", ttl }
    if (state.reason._tag === "NoAddresses") return { _tag: "NoData", ttl }
  }
  if (only !== undefined && family !== only) return { _tag: "NoData", ttl: proxyTtl }
  if (family === 6 && !ways.some) return { _tag: "NoData", ttl: proxyTtl }
  if (state._tag === "Resolved") {
    const addresses = state.addresses.filter((a) => familyOf(a) === family)
    const known = addresses.length > 0 || state.failure === null
    if (known && !addresses.some((a) => family === 4 || ways.leadsTo(a))) return { _tag: "NoData", ttl: proxyTtl }
  }
  const ttl = family === 6 && state._tag === "Resolving" ? unknownTtl : proxyTtl
  return { _tag: "Addresses", addresses: proxyIps.filter((ip) => familyOf(ip) === family), ttl }
}

const familyOf = (address: string): 4 | 6 => (address.includes(":") ? 6 : 4)
