/** What a client is told about a name it may reach, from the acceptor's reply. Pure. */
import type { TunnelAnswer } from "../../dns/tunnelAnswer.ts"
import type { NameState } from "../../resolution/NameState.ts"

/** Seconds that a client may keep a proxy IP. */
export const proxyTtl = 30
/** A negative answer is never kept longer than this many seconds. */
const maxNegativeTtl = 60

/**
 * The proxy IPs at once, whatever the upstream does. Only what is known for sure is said: NXDOMAIN within its negative
 * TTL, and NODATA for a family that is known to be empty.
 */
export const tunnelAnswerOf = (
  state: NameState,
  family: 4 | 6,
  proxyIps: ReadonlyArray<string>,
  now: number
): TunnelAnswer => {
  if (state._tag === "Unresolved" && now < state.negativeUntil) {
    const ttl = Math.max(1, Math.min(maxNegativeTtl, Math.ceil((state.negativeUntil - now) / 1_000)))
    if (state.reason._tag === "NameNotFound") return { _tag: "NameError", ttl }
    if (state.reason._tag === "NoAddresses") return { _tag: "NoData", ttl }
  }
  if (state._tag === "Resolved" && state.failure === null && !state.addresses.some((a) => familyOf(a) === family)) {
    return { _tag: "NoData", ttl: proxyTtl }
  }
  return { _tag: "Addresses", addresses: proxyIps.filter((ip) => familyOf(ip) === family), ttl: proxyTtl }
}

const familyOf = (address: string): 4 | 6 => (address.includes(":") ? 6 : 4)
