/** Names and networks that clients have by several resources: what any of them allows is theirs. Pure. */
import { compareSpecificity, matches } from "../model/DomainPattern.ts"
import type { Right } from "../model/Authorization.ts"
import type { ClientId } from "../model/Client.ts"
import type { Resource } from "../model/Resource.ts"
import { contains, parseNetwork } from "../packet/address.ts"
import { rightsByClient } from "../model/Grant.ts"
import type { GatewayConfig } from "./GatewayConfig.ts"

export interface SharedName {
  /** The pattern or network that all of them cover. */
  readonly what: string
  /** Ids of clients, in the order of the file. */
  readonly clients: ReadonlyArray<ClientId>
  /** What each of these clients has there, two at least: the most specific first. */
  readonly grants: ReadonlyArray<Right>
}

/** Of each resource the pattern or network, where clients have others that cover it, too. */
export const sharedNames = ({ clients, grants, resources }: GatewayConfig): ReadonlyArray<SharedName> => {
  const byResource = new Map(grants.map((grant) => [grant.resource.id, grant]))
  const order = new Map(clients.map(({ id }, i) => [id, i]))
  const wide = resources.filter(isWide)
  const exact = Map.groupBy(
    resources.filter((resource) => !isWide(resource)),
    placeOf
  )
  const found = new Map<string, Omit<SharedName, "clients"> & { readonly ids: Set<ClientId> }>()
  for (const narrow of resources) {
    const what = placeOf(narrow)
    const covering = [...(exact.get(what) ?? []), ...wide.filter((each) => covers(each, narrow))].toSorted(
      bySpecificity
    )
    if (covering.length < 2) continue
    const granted = covering.flatMap((resource) => byResource.get(resource.id) ?? [])
    for (const [id, own] of rightsByClient(granted)) {
      if (own.length < 2) continue
      const key = JSON.stringify([what, own.map(({ expiresAt, resource }) => [resource.id, expiresAt])])
      const known = found.get(key)
      if (known === undefined) found.set(key, { what, ids: new Set([id]), grants: own })
      else known.ids.add(id)
    }
  }
  return Array.from(found.values(), ({ grants, ids, what }) => ({
    what,
    clients: Array.from(ids).toSorted((a, b) => order.get(a)! - order.get(b)!),
    grants
  }))
}

/** Anything but one name. */
const isWide = (resource: Resource): boolean => resource.kind !== "dns" || /[*?]/u.test(resource.pattern)

const placeOf = (resource: Resource): string =>
  resource.kind === "dns" ? resource.pattern : resource.kind === "cidr" ? resource.network : "the Internet"

const covers = (wide: Resource, narrow: Resource): boolean => {
  if (wide.kind === "dns") return narrow.kind === "dns" && matches(wide.pattern, exampleOf(narrow.pattern))
  if (wide.kind !== "cidr" || narrow.kind !== "cidr") return false
  const [outer, inner] = [parseNetwork(wide.network)!, parseNetwork(narrow.network)!]
  return outer.prefix <= inner.prefix && contains(outer, inner.address)
}

/** Some name under the pattern. */
const exampleOf = (pattern: string): string => pattern.replace(/\*+/gu, "some-name").replaceAll("?", "x")

const bySpecificity = (a: Resource, b: Resource): number =>
  a.kind === "dns" && b.kind === "dns"
    ? compareSpecificity(a.pattern, b.pattern)
    : a.kind === "cidr" && b.kind === "cidr"
      ? parseNetwork(b.network)!.prefix - parseNetwork(a.network)!.prefix
      : 0
