import * as Effect from "effect/Effect"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import { Upstream } from "../../src/dns/Upstream.ts"
import { Tunnel } from "../../src/host/Tunnel.ts"
import { readiness } from "../../src/monitor/readiness.ts"
import { Presence } from "../../src/shared/Presence.ts"

/** What works of the gateway just now, part by part. */
export const ready = Effect.gen(function* () {
  const tunnel = yield* Tunnel
  return readiness({
    dataPlaneCounters: yield* (yield* DataPlane).counters,
    configured: tunnel.ready(),
    host: yield* tunnel.kept,
    draining: (yield* Presence)?.drain.standing() ?? null,
    dnsServers: yield* (yield* Upstream).servers
  })
})
