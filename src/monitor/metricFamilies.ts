/**
 * Every metric that the gateway tells, for Prometheus and OTLP alike. What the packet path, names, DNS and host count under
 * names of their own is a series here: `seriesOf` says which. Durations are in seconds, sizes in bytes.
 */
export interface Family {
  readonly type: "counter" | "gauge" | "histogram"
  readonly help: string
  /** UCUM, for OTLP; Prometheus has it in the name. */
  readonly unit?: "s" | "By"
}

const counter = (help: string, unit?: Family["unit"]): Family =>
  unit === undefined ? { type: "counter", help } : { type: "counter", help, unit }
const gauge = (help: string, unit?: Family["unit"]): Family =>
  unit === undefined ? { type: "gauge", help } : { type: "gauge", help, unit }
const seconds = (help: string): Family => ({ type: "histogram", help, unit: "s" })

export const families = {
  sallyport_packets_total: counter("Packets forwarded, by direction."),
  sallyport_bytes_total: counter("Bytes of forwarded packets inside the tunnel, by direction.", "By"),
  sallyport_drops_total: counter("Packets dropped or refused, by where and why."),
  sallyport_packet_events_total: counter("What else the packet path met, by event."),
  sallyport_wireguard_messages_total: counter("WireGuard messages received, by what became of them."),
  sallyport_handshakes_total: counter("WireGuard handshakes worked on, by what became of them."),
  sallyport_sessions: gauge("Flows that are forwarded just now."),
  sallyport_worker_restarts_total: counter("Packet workers that were replaced."),
  sallyport_worker_uptime_seconds: gauge("Age of the packet worker.", "s"),
  sallyport_worker_state: gauge("What is so of the packet worker and its offloads just now: 1, or 0."),
  sallyport_packet_turn_duration_seconds: seconds(
    "How long one turn of the packet worker took; packets wait that long."
  ),
  sallyport_accept_duration_seconds: seconds("How long an access request took, by outcome."),
  sallyport_lookup_duration_seconds: seconds("How long a lookup of a name took, by outcome."),
  sallyport_lookups_total: counter("Lookups of names, by event."),
  sallyport_lookup_causes_total: counter("Lookups of names that began, by what made them begin."),
  sallyport_lookup_brakes_total: counter("Lookups that a brake held back, by brake."),
  sallyport_lookups_queued: gauge("Lookups that wait for their turn."),
  sallyport_clients: gauge("Clients, by whether they are connected."),
  sallyport_client_bytes_total: counter(
    "Bytes of WireGuard's datagrams, by client and direction, where metrics_per_client is set.",
    "By"
  ),
  sallyport_client_refused_total: counter(
    "Packets of a client that went no further, by client, where metrics_per_client is set."
  ),
  sallyport_client_flows: gauge("Flows of a client just now, by client, where metrics_per_client is set."),
  sallyport_control_plane_events_total: counter("What the control plane met: questions, requests, refusals, by event."),
  sallyport_dns_answers_total: counter("Answers of the tunnel's DNS sockets, by their RCODE."),
  sallyport_dns_server_events_total: counter("What the tunnel's DNS sockets met, by event."),
  sallyport_dns_upstream_events_total: counter("What the gateway met with the DNS servers it asks, by event."),
  sallyport_host_events_total: counter("What was put right on the host, or taken away by others, by event."),
  sallyport_host_wrong: gauge("Things wrong on the host that cannot be put right."),
  sallyport_http_events_total: counter("What the listener for HTTP refused or ended, by event (key)."),
  sallyport_telemetry_events_total: counter(
    "Posts that an OpenTelemetry collector left without an answer, or that were dropped meanwhile, by event (key)."
  ),
  sallyport_defects_total: counter("Bugs met and outlived, by loop (key)."),
  sallyport_site_connected: gauge("Whether the PostgreSQL of the gateway's site is connected: 1, or 0."),
  sallyport_site_untold: gauge("Changes that the site has not been told yet."),
  sallyport_site_read_age_seconds: gauge("How long ago all that the other gateways told was read last.", "s"),
  sallyport_site_gateways: gauge("Other gateways of the site, by whether they are alive or silent."),
  sallyport_site_clients_elsewhere: gauge("Clients that are at another gateway of the site."),
  sallyport_ready: gauge("Whether a part that traffic needs works: 1, or 0.")
} as const satisfies Readonly<Record<string, Family>>

export type FamilyName = keyof typeof families

/** Who counts: the groups of `StatusReport.counters`. */
export type CounterGroup = "controlPlane" | "dataPlane" | "resolutions" | "dns" | "upstream" | "host"

export interface Series {
  readonly family: FamilyName
  readonly labels: Readonly<Record<string, string>>
  /** What one of the counter is in the family's unit. Default 1. */
  readonly scale?: number
}

const series = (family: FamilyName, labels: Series["labels"] = {}): Series => ({ family, labels })

/** Of the packet path, what is neither a drop nor an event. */
const packetSeries: Readonly<Record<string, Series>> = {
  "outbound.forwarded": series("sallyport_packets_total", { direction: "from_client" }),
  "inbound.forwarded": series("sallyport_packets_total", { direction: "to_client" }),
  "outbound.bytes": series("sallyport_bytes_total", { direction: "from_client" }),
  "inbound.bytes": series("sallyport_bytes_total", { direction: "to_client" }),
  "sessions.live": series("sallyport_sessions"),
  "worker.restarts": series("sallyport_worker_restarts_total"),
  "worker.uptime_ms": { ...series("sallyport_worker_uptime_seconds"), scale: 1e-3 }
}

/** What passes, waits or is answered, although its name begins as those of drops do. */
const noDrops = new Set(["outbound.to_gateway", "outbound.echo_reply", "outbound.parked", "inbound.staged"])
const dropped =
  /^(?:(outbound|inbound|system)\.(.+)|(udp|tun)\.(send_failed|write_failed|congested|shed)|(icmp|control)\.(rate_limited|malformed|unsent)|(parking|sessions)\.(expired|evicted))$/

/** The series of a counter; `null`: it is part of a histogram. */
export const seriesOf = (group: CounterGroup, key: string): Series | null => {
  switch (group) {
    case "dataPlane":
      return packetSeriesOf(key)
    case "resolutions":
      if (key === "queued") return series("sallyport_lookups_queued")
      if (key.startsWith("cause.")) {
        return series("sallyport_lookup_causes_total", { cause: key.slice("cause.".length) })
      }
      return key.startsWith("brake.")
        ? series("sallyport_lookup_brakes_total", { brake: key.slice("brake.".length) })
        : series("sallyport_lookups_total", { event: key.replace(/^lookups\./, "") })
    case "host":
      return key === "host.wrong"
        ? series("sallyport_host_wrong")
        : series("sallyport_host_events_total", { event: key.replace(/^host\./, "") })
    case "controlPlane":
      return series("sallyport_control_plane_events_total", { event: key })
    case "dns":
      if (key.startsWith("rcode.")) return series("sallyport_dns_answers_total", { rcode: key.slice("rcode.".length) })
      return series("sallyport_dns_server_events_total", { event: key })
    case "upstream":
      return series("sallyport_dns_upstream_events_total", { event: key })
  }
}

const packetSeriesOf = (key: string): Series | null => {
  const known = packetSeries[key]
  if (known !== undefined) return known
  if (key.startsWith("turn.")) return null
  if (key.startsWith("offloads.") || /^worker\.(real_time|standby|ready)$/.test(key)) {
    return series("sallyport_worker_state", { of: key })
  }
  const handshake = /^wireguard\.handshake_(.+)$/.exec(key)
  if (handshake !== null) return series("sallyport_handshakes_total", { outcome: handshake[1]! })
  const message = /^wireguard\.(.+)$/.exec(key)
  if (message !== null) return series("sallyport_wireguard_messages_total", { outcome: message[1]! })
  const [at, reason] = noDrops.has(key) ? [] : (dropped.exec(key)?.slice(1).filter(Boolean) ?? [])
  return at !== undefined && reason !== undefined
    ? series("sallyport_drops_total", { at, reason })
    : series("sallyport_packet_events_total", { event: key })
}

/** Of accepts and lookups, in seconds: an accept takes microseconds, a lookup at most 10 s. */
export const durationBounds: ReadonlyArray<number> = [
  0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10
]
