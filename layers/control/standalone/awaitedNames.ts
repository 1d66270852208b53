/** What a proxy IP stands for that another gateway of the site has given to a client, before this one has heard of it. */
import * as Effect from "effect/Effect"
import type { DnsRight } from "../../../src/control/standalone/chooseResource.ts"
import { type ProxyNetworks, slotOf } from "../../../src/control/standalone/proxyPool.ts"
import { makeOddities } from "../../../src/loops/oddities.ts"
import type { SiteMember } from "../../../src/shared/Site.ts"
import type { NamesOfClient } from "./resourceNames.ts"

interface Names<A extends NamesOfClient> {
  readonly site: SiteMember
  readonly ranges: ProxyNetworks
  readonly nameOfSite: (number: number) => string
  /** Those of the client that cover the name. */
  readonly grants: (of: A, domain: string) => ReadonlyArray<DnsRight>
  /** The name with its slot is the client's, as when it asks for it. */
  readonly give: (of: A, grants: ReadonlyArray<DnsRight>, domain: string) => Effect.Effect<unknown>
}

/**
 * Whether the packet path is to wait for it. Exact names need nobody: the directory says which one the slot is. For others
 * the site is asked; that it has none now does not say that the gateway which gave it is not about to tell.
 */
export const makeAwaitedNames = <A extends NamesOfClient>({ give, grants, nameOfSite, ranges, site }: Names<A>) => {
  const odd = makeOddities(Effect.logWarning)
  return Effect.fnUntraced(function* (of: A, proxyIp: string) {
    const slot = slotOf(proxyIp, ranges)
    const there = slot < 0 ? site.source.site : site.source.siteOf(slot)
    if (there !== site.source.site) {
      yield* odd(
        `${of.client.id} ${there}`,
        `a packet of ${of.client.id} to ${proxyIp} came here, and is for site ${nameOfSite(there)} — see AllowedIPs in the client's file: sallyport client-config ${of.client.id}`
      )
      return false
    }
    const known = of.slots.ofSlot(slot)?.domain
    const domain = known ?? site.source.exactAt(slot)
    if (domain !== undefined) {
      const rights = grants(of, domain)
      if (rights.length === 0) return false
      if (known === undefined) yield* give(of, rights, domain)
      return true
    }
    if (slot < 0 || site.source.owns(slot) || (yield* site.shared.store)._tag === "Away") return false
    yield* site.shared.soon
    return true
  })
}
