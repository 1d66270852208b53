/** What `status` asks of a running gateway of either kind. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { Authorizations } from "../../src/access/Authorizations.ts"
import { Clients } from "../../src/access/Clients.ts"
import { ExpiryClock } from "../../src/access/ExpiryClock.ts"
import { makeStatusReport, type StatusInput } from "../../src/cli/makeStatusReport.ts"
import { ControlPlane } from "../../src/control/ControlPlane.ts"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import type { TwoPlaces } from "../../src/dataplane/KeyPlaces.ts"
import { Upstream } from "../../src/dns/Upstream.ts"
import { DnsSockets } from "../../src/host/DnsSockets.ts"
import { ForeignNetworks } from "../../src/host/ForeignNetworks.ts"
import { IpFamilies } from "../../src/host/IpFamilies.ts"
import { Tunnel } from "../../src/host/Tunnel.ts"
import { defectCounts } from "../../src/loops/outlive.ts"
import { monotonicMillis } from "../../src/loops/monotonic.ts"
import { Presence } from "../../src/shared/Presence.ts"
import { Site } from "../../src/shared/Site.ts"
import { Resolutions } from "../../src/resolution/Resolutions.ts"

/** What of it cannot be read is told where it is written. */
const standing = Effect.flatMap(Site, (site) =>
  site === null ? Effect.succeed(null) : Effect.orElseSucceed(site.standing, () => null)
)

/** Reads the report from the services at hand. */
export const gatewayReport = Effect.fnUntraced(function* (
  gateway: Pick<StatusInput, "startedAt" | "publicKey" | "ending" | "endpoint" | "http" | "grants" | "sitePolicy">
) {
  const dataPlane = yield* DataPlane
  const resolutions = yield* Resolutions
  const controlPlane = yield* ControlPlane
  const upstream = yield* Upstream
  const clients = yield* (yield* Clients).list
  const presence = yield* Presence
  const twoPlaces = new Map<string, TwoPlaces>()
  for (const { id } of clients) {
    const found = yield* dataPlane.twoPlaces(id)
    if (found !== null) twoPlaces.set(id, found)
  }
  const before = yield* Clock.currentTimeMillis
  const today = yield* yield* ExpiryClock
  const at = yield* Clock.currentTimeMillis
  return makeStatusReport({
    ...gateway,
    twoPlaces,
    at,
    // The host's own clock is not ahead of itself, whatever passes between two looks at it.
    expiryAhead: today - Math.min(Math.max(today, before), at),
    now: yield* monotonicMillis,
    clients,
    gatewayKeys: dataPlane.desired.gatewayKeys(),
    clientStates: yield* dataPlane.clients,
    activity: yield* dataPlane.activity,
    mappings: yield* resolutions.list,
    authorizations: yield* (yield* Authorizations).list,
    site: yield* standing,
    presence: presence === null ? null : yield* presence.report,
    virtualAddress: presence?.address.told() ?? null,
    draining: presence?.drain.standing() ?? null,
    host: yield* (yield* Tunnel).kept,
    ipv6: (yield* IpFamilies).ipv6(),
    foreignNetworks: (yield* ForeignNetworks).list(),
    workerEpoch: yield* dataPlane.epoch,
    firewall: yield* (yield* Tunnel).firewall,
    controlPlane: yield* controlPlane.health,
    controlPlaneCounters: yield* controlPlane.counters,
    dataPlaneCounters: yield* dataPlane.counters,
    resolutionCounters: yield* resolutions.counters,
    dnsServers: yield* upstream.servers,
    upstreamCounters: yield* upstream.counters,
    dnsCounters: yield* (yield* DnsSockets).counters,
    defects: yield* defectCounts
  })
})
