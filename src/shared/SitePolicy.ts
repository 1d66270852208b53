/** A site's policy, of which there is one version after the other. Pure. */

/** A store that was put back may come to give a number twice: the token tells the two apart. */
export interface PolicyVersion {
  readonly version: number
  readonly token: string
}

export interface SitePolicy extends PolicyVersion {
  /** A `sallyport.yaml`, as it was written. */
  readonly text: string
  /** Who applied it, and when, in epoch milliseconds of the store's clock. */
  readonly by: string
  readonly at: number
}

/**
 * What a policy that is offered as the newest one is to a gateway: a version never falls, so one that does not come after the
 * one that is in force is `Fallen`, as is none where there has been one.
 */
export const judgeOffer = (
  inForce: PolicyVersion | null,
  offered: PolicyVersion | null
): "Same" | "Newer" | "Fallen" => {
  if (offered === null) return inForce === null ? "Same" : "Fallen"
  if (inForce === null || offered.version > inForce.version) return "Newer"
  return offered.version === inForce.version && offered.token === inForce.token ? "Same" : "Fallen"
}
