/** What a family's queries ended with: an answer, or no usable answer from any server (`failure`). */
export type FamilyOutcome<F> =
  | { readonly _tag: "Addresses"; readonly addresses: ReadonlyArray<string>; readonly ttl: number }
  | { readonly _tag: "NameNotFound"; readonly ttl: number }
  | { readonly _tag: "NoData"; readonly ttl: number }
  | { readonly _tag: "Failed"; readonly failure: F }

/**
 * One result out of the A and the AAAA outcome. Addresses of one family win over anything of the other. A name that
 * exists for one family exists. A failure hides an absence, since the other family may have addresses.
 */
export const combineFamilies = <F>(v4: FamilyOutcome<F>, v6: FamilyOutcome<F>): FamilyOutcome<F> => {
  if (v4._tag === "Addresses" && v6._tag === "Addresses") {
    return {
      _tag: "Addresses",
      addresses: [...new Set([...v4.addresses, ...v6.addresses])],
      ttl: Math.min(v4.ttl, v6.ttl)
    }
  }
  if (v4._tag === "Addresses") return v4
  if (v6._tag === "Addresses") return v6
  // NXDOMAIN is about the name, not about a type (RFC 8020): it settles the other family as well.
  if (v4._tag === "NameNotFound" && v6._tag === "Failed") return v4
  if (v6._tag === "NameNotFound" && v4._tag === "Failed") return v6
  if (v4._tag === "Failed") return v4
  if (v6._tag === "Failed") return v6
  if (v4._tag === v6._tag) return { _tag: v4._tag, ttl: Math.min(v4.ttl, v6.ttl) }
  return { _tag: "NoData", ttl: Math.min(v4.ttl, v6.ttl) }
}
