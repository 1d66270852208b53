/** The tunnel as the portal wants it: its addresses come with `init`, and nothing that the portal says waits for the host. */
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import { type PortalTunnelChoices, tunnelPlanOf } from "../../../src/control/firezone/tunnelPlan.ts"
import { DataPlane } from "../../../src/dataplane/DataPlane.ts"
import type { DnsSocketError } from "../../../src/host/DnsSockets.ts"
import type { HostError } from "../../../src/host/HostNetwork.ts"
import { Tunnel } from "../../../src/host/Tunnel.ts"
import { superviseForever } from "../../../src/loops/superviseForever.ts"
import { makePortalDns } from "./portalDns.ts"

interface Addresses {
  readonly tunnel4: string
  readonly tunnel6: string
}

export interface PortalTunnelOptions extends PortalTunnelChoices {
  /** For the log. */
  readonly device: string
}

export const makePortalTunnel = Effect.fnUntraced(function* ({ device, ...choices }: PortalTunnelOptions) {
  const dataPlane = yield* DataPlane
  const tunnel = yield* Tunnel
  const dns = yield* makePortalDns
  const news = yield* Queue.sliding<Addresses>(1)

  const setUp = Effect.fnUntraced(function* ({ tunnel4, tunnel6 }: Addresses) {
    const changed = yield* tunnel.configure(tunnelPlanOf(choices, tunnel4, tunnel6))
    if (!changed) return
    yield* Effect.all([dataPlane.start, tunnel.serve(dns.handler)], { concurrency: 2 })
    yield* Effect.logInfo("ready").pipe(Effect.annotateLogs({ device, tunnel4, tunnel6, port: dataPlane.port }))
  })

  const run: Effect.Effect<never, DnsSocketError | HostError> = superviseForever(
    "Tunnel.configure",
    Effect.flatMap(Queue.take(news), setUp)
  )
  return {
    /** Takes these addresses from now on; never waits. The same ones again change nothing. */
    configure: (addresses: Addresses): Effect.Effect<void> => Effect.asVoid(Queue.offer(news, addresses)),
    /** Sets the host up whenever there are other addresses. */
    run,
    /** Of its DNS server, by name. */
    counters: dns.counters
  }
})
