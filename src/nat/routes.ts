import { contains, isIpv4, type Network, type Words } from "../packet/address.ts"
import { type FilterSet, permits } from "./portFilters.ts"

/** No resource of the client has the destination. */
const noRoute = -1
/** Some resource has the destination, but none lets the packet through. */
export const filtered = -2
/** Some resource lets the packet through, but none may lead to the destination. */
export const refusedRoute = -3

/**
 * Which of a client's CIDR and Internet resources takes a packet: those whose filters permit it before others, then
 * the longest prefix, then the smallest resource id. Looked at for new sessions; a walk over the client's networks.
 */
export class Routes {
  private readonly clients: Array<Array<Route> | undefined> = []

  /** Adds or replaces. `network` `undefined` is the Internet: every address of both families, after all networks. */
  set(client: number, resource: number, resourceId: string, network: Network | undefined, filters: FilterSet): void {
    const others = (this.clients[client] ?? []).filter((r) => r.resource !== resource)
    this.clients[client] = [...others, { resource, resourceId, network, filters }].toSorted(byPreference)
  }

  remove(client: number, resource: number): void {
    const left = this.clients[client]?.filter((r) => r.resource !== resource)
    this.clients[client] = left?.length === 0 ? undefined : left
  }

  forgetClient(client: number): void {
    this.clients[client] = undefined
  }

  /** The resource, the `nth` of those that let the packet through; `noRoute` or `filtered`. */
  choose(client: number, destination: Readonly<Words>, protocol: number, destinationPort: number, nth = 0): number {
    const routes = this.clients[client]
    let answer = noRoute
    if (routes === undefined) return answer
    for (let i = 0, left = nth; i < routes.length; i++) {
      const route = routes[i]!
      if (route.network !== undefined && !covers(route.network, destination)) continue
      if (permits(route.filters, protocol, destinationPort) && left-- === 0) return route.resource
      answer = filtered
    }
    return answer
  }
}

interface Route {
  readonly resource: number
  readonly resourceId: string
  readonly network: Network | undefined
  readonly filters: FilterSet
}

/** `::/0` has every mapped address in it, but means IPv6. */
const covers = (n: Network, a: Readonly<Words>): boolean =>
  contains(n, a) && isIpv4(a) === (n.prefix >= 96 && isIpv4(n.address))

const byPreference = (a: Route, b: Route): number =>
  prefixLength(b) - prefixLength(a) || (a.resourceId < b.resourceId ? -1 : a.resourceId > b.resourceId ? 1 : 0)

const prefixLength = (r: Route): number => r.network?.prefix ?? -1
