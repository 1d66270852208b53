/** Which addresses of other servers' answers a client may be told: those that it can reach. Pure. */
import { isOpen } from "../../model/Authorization.ts"
import { optInBits, type DestinationPolicy } from "../../nat/destinationPolicy.ts"
import { contains, parseAddress } from "../../packet/address.ts"
import { type NameRights, networkOf } from "./nameRoutes.ts"

/** Addresses of that name by which hosts find out about NAT64 (RFC 7050 §2.2, §3). */
const nat64Probe = { name: "ipv4only.arpa", addresses: ["192.0.0.170", "192.0.0.171"] }

/**
 * Why the client may not be told an address that `domain` has, `undefined` when it may: public ones, if `isPublicTold`, and
 * those of its network resources.
 *
 * @param text canonical
 * @param now epoch milliseconds
 */
export const refusalOf = (
  of: NameRights,
  domain: string,
  text: string,
  now: number,
  { isPublicTold, policy }: { readonly isPublicTold: boolean; readonly policy: DestinationPolicy }
): string | undefined => {
  const address = parseAddress(text)
  if (address === undefined) return "not an address"
  const refusal = policy.judgeForInternet(address, 0)
  if (refusal === undefined && isPublicTold) return undefined
  if (domain === nat64Probe.name && nat64Probe.addresses.includes(text)) return undefined
  const isReached = of.networks.some(
    (grant) =>
      contains(networkOf(grant.resource), address) &&
      isOpen(grant, now) &&
      policy.judge(address, optInBits(grant.resource.allow)) === undefined
  )
  return isReached ? undefined : (refusal ?? "not in a network of this client")
}

/** An address that was left out of an answer. */
export interface FilteredAddress {
  readonly client: string
  readonly name: string
  readonly address: string
  readonly why: string
  /** Monotonic milliseconds. */
  readonly at: number
}

/** One line of the log in this time. */
const toldEveryMs = 60_000

/** What was left out of answers since the start. */
export class FilteredAddresses {
  count = 0
  last: FilteredAddress | null = null
  private toldAt = Number.NEGATIVE_INFINITY

  /** Whether the log is to tell of this one. */
  note(filtered: FilteredAddress): boolean {
    this.count++
    this.last = filtered
    if (filtered.at - this.toldAt < toldEveryMs) return false
    this.toldAt = filtered.at
    return true
  }
}
