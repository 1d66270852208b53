/** What a gateway in the lab tells Prometheus. */
import { assert } from "@effect/vitest"
import { Effect } from "effect"
import { Lab } from "../../src/lab/demo/Lab.ts"

const fromGateway = Effect.fnUntraced(function* (path: string) {
  const lab = yield* Lab
  return yield* lab.exec("gateway", ["curl", "--silent", "--fail", "--max-time", "5", `http://localhost:9820${path}`])
})

export const metricsOfGateway = fromGateway("/metrics")

/** Fails where it is not. */
export const readyOfGateway = fromGateway("/readyz")

/** The value of a series as its line has it. */
export const valueOf = (metrics: string, series: string): number => {
  const line = metrics.split("\n").find((one) => one.startsWith(`${series} `))
  assert.isDefined(line, `${series} in\n${metrics}`)
  return Number(line?.slice(series.length + 1))
}

/** What either kind of gateway has counted once a client has downloaded something by a name. */
export const assertEverythingCounted = (metrics: string): void => {
  for (const series of [
    'sallyport_packets_total{direction="from_client"}',
    'sallyport_bytes_total{direction="to_client"}',
    'sallyport_lookup_causes_total{cause="First"}',
    'sallyport_lookups_total{event="answered"}',
    'sallyport_lookup_duration_seconds_count{outcome="answer"}',
    'sallyport_accept_duration_seconds_count{outcome="Resolving"}',
    'sallyport_handshakes_total{outcome="answered"}',
    'sallyport_wireguard_messages_total{outcome="data"}',
    "sallyport_packet_turn_duration_seconds_count",
    'sallyport_clients{state="connected"}',
    ...["tunnel", "host", "worker", "resolver"].map((part) => `sallyport_ready{part="${part}"}`)
  ]) {
    assert.isAtLeast(valueOf(metrics, series), 1, series)
  }
  // At zero these are told too, but for the brakes, which are made as they are first used.
  for (const family of ["drops", "host_events", "dns_server_events", "dns_upstream_events", "control_plane_events"]) {
    assert.match(metrics, new RegExp(`^sallyport_${family}_total\\{.*\\} \\d+$`, "m"), family)
  }
}
