/** What the metrics tell of a gateway's site. */
import type { SiteReport } from "../shared/Ownership.ts"
import type { SiteStanding } from "../shared/Site.ts"
import type { FamilyName, Series } from "./metricFamilies.ts"

/**
 * A value that nobody knows yet has no series.
 * @param now epoch milliseconds of the gateway's own clock, as `readAt` is
 */
export const siteSeries = (
  { readAt, store, untold }: SiteStanding,
  presence: SiteReport | null,
  now: number
): ReadonlyArray<Series & { readonly value: number }> => {
  const of = (family: FamilyName, value: number, labels: Series["labels"] = {}) => ({ family, labels, value })
  const others = presence?.gateways.filter(({ own }) => !own) ?? []
  const alive = others.filter((gateway) => gateway.alive).length
  return [
    of("sallyport_site_connected", Number(store._tag === "Connected")),
    of("sallyport_site_untold", untold),
    ...(readAt === null ? [] : [of("sallyport_site_read_age_seconds", Math.max(0, now - readAt) / 1_000)]),
    ...(presence === null
      ? []
      : [
          of("sallyport_site_gateways", alive, { state: "alive" }),
          of("sallyport_site_gateways", others.length - alive, { state: "silent" }),
          of("sallyport_site_clients_elsewhere", presence.owners.size)
        ])
  ]
}
