/** Whether the gateway can do its work just now, part by part, as `/readyz` and a metric tell it. */
import type { UpstreamServer } from "../dns/Upstream.ts"
import type { HostKept } from "../host/HostKept.ts"
import type { DrainStanding } from "../shared/Presence.ts"

export interface ReadinessInput {
  readonly dataPlaneCounters: Readonly<Record<string, number>>
  /** Addresses, routes and firewall of the tunnel were set up, and the sockets of its DNS service. */
  readonly configured: boolean
  readonly host: Pick<HostKept, "wrong">
  /** `null`: it does not give its clients away. */
  readonly draining: Pick<DrainStanding, "mayMove"> | null
  readonly dnsServers: ReadonlyArray<Pick<UpstreamServer, "server" | "silentSince">>
}

export interface ReadinessPart {
  readonly part: "tunnel" | "host" | "worker" | "resolver" | "site"
  /** Why it does not work, in one line; `null`: it does. */
  readonly why: string | null
}

/** `resolver`: a server answers, or none has been asked yet. */
export const readiness = (input: ReadinessInput): ReadonlyArray<ReadinessPart> => {
  const { configured, dataPlaneCounters, dnsServers, draining, host } = input
  const silent = dnsServers.filter(({ silentSince }) => silentSince !== null)
  return [
    { part: "tunnel", why: configured ? null : "the tunnel has not been set up yet" },
    { part: "host", why: host.wrong?.what[0] ?? null },
    // A packet path in memory has no worker.
    { part: "worker", why: dataPlaneCounters["worker.ready"] === 0 ? "the packet worker does not run" : null },
    {
      part: "resolver",
      why:
        silent.length > 0 && silent.length === dnsServers.length
          ? `no DNS server answers: ${silent
              .slice(0, 4)
              .map(({ server }) => server)
              .join(", ")}`
          : null
    },
    // Not before the others know: the address moves when they do.
    { part: "site", why: draining?.mayMove === true ? "it gives its clients away (sallyport drain)" : null }
  ]
}
