/** Which of a client's resources cover a name: their rights to it are a union. Pure. */
import { compareSpecificity, matches } from "../model/DomainPattern.ts"
import type { Name } from "../model/Mapping.ts"
import type { DestinationOptIn, DnsResource } from "../model/Resource.ts"

/** At least one, in the order of `byPrecedence`: the first says who looks the name up. */
export type Cover = readonly [DnsResource, ...ReadonlyArray<DnsResource>]

/** `undefined`: none covers the name. */
export const coverOf = (resources: Iterable<DnsResource>, domain: string): Cover | undefined => {
  const [first, ...others] = Array.from(resources)
    .filter(({ pattern }) => matches(pattern, domain))
    .toSorted(byPrecedence)
  return first === undefined ? undefined : [first, ...others]
}

/** The most specific pattern first; of two alike the resource with the smaller id, wherever the file has them. */
export const byPrecedence = (a: DnsResource, b: DnsResource): number =>
  compareSpecificity(a.pattern, b.pattern) || (a.id < b.id ? -1 : 1)

/** What is looked up for a domain that they cover. */
export const nameOf = ([{ family, resolver }]: Cover, domain: string): Name =>
  family === undefined ? { resolver, domain } : { resolver, domain, family }

/** A destination that any of them may lead to is one that the name may lead to. */
export const optInsOf = (cover: Cover): ReadonlyArray<DestinationOptIn> =>
  cover.length === 1 ? cover[0].allow : Array.from(new Set(cover.flatMap(({ allow }) => allow)))

/** Whether the resource covers the same names by the same rules. */
export const coversAlike = (a: DnsResource | undefined, b: DnsResource): boolean =>
  a !== undefined &&
  a.pattern === b.pattern &&
  a.resolver === b.resolver &&
  a.family === b.family &&
  a.allow.length === b.allow.length &&
  a.allow.every((optIn, i) => optIn === b.allow[i])
