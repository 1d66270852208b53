/** What a gateway tells by HTTP: health, metrics and the dashboard. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as PrometheusMetrics from "effect/observability/PrometheusMetrics"
import type { HostPort } from "../../src/config/GatewayConfig.ts"
import { ControlPlane } from "../../src/control/ControlPlane.ts"
import type { Activity } from "../../src/dataplane/Activity.ts"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import { Upstream } from "../../src/dns/Upstream.ts"
import { DnsSockets } from "../../src/host/DnsSockets.ts"
import { Tunnel } from "../../src/host/Tunnel.ts"
import { superviseForever } from "../../src/loops/superviseForever.ts"
import type { ReadinessPart } from "../../src/monitor/readiness.ts"
import { siteSeries } from "../../src/monitor/siteSeries.ts"
import { Resolutions } from "../../src/resolution/Resolutions.ts"
import { Presence } from "../../src/shared/Presence.ts"
import { Site } from "../../src/shared/Site.ts"
import { version } from "../host/version.ts"
import { dashboardRoutes } from "./dashboardRoutes.ts"
import { makeGatewayMetrics, type Readings } from "./gatewayMetrics.ts"
import { ready } from "./ready.ts"
import { listen, type Page, type Routes } from "./httpListener.ts"

/** The dashboard's lines have a point for each. */
const sampleEvery = "1 second"
/** For OTLP, which sends what it finds every 10 s; who scrapes has it folded for that. */
const foldEvery = "5 seconds"
/** A page is all metrics, made anew: two who scrape at the same moment have theirs. */
const maxScrapes = 2

type SeriesValue = Readings["gauges"][number]

const readings = Effect.fnUntraced(function* (perClient: boolean) {
  const dataPlane = yield* DataPlane
  const resolutions = yield* Resolutions
  const tunnel = yield* Tunnel
  const { devicesMade, repaired, wrong } = yield* tunnel.kept
  const { counters: firewall } = yield* tunnel.firewall
  const clients = [...(yield* dataPlane.clients).values()]
  const connected = clients.filter((client) => client.connected).length
  const gauges: ReadonlyArray<SeriesValue> = [
    { family: "sallyport_clients", labels: { state: "connected" }, value: connected },
    { family: "sallyport_clients", labels: { state: "away" }, value: clients.length - connected },
    ...(yield* ready).map(({ part, why }) => ({
      family: "sallyport_ready" as const,
      labels: { part },
      value: Number(why === null)
    })),
    ...(yield* ofSite),
    ...(perClient ? clientSeries((yield* dataPlane.activity).clients) : [])
  ]
  return {
    counters: {
      controlPlane: yield* (yield* ControlPlane).counters,
      dataPlane: yield* dataPlane.counters,
      resolutions: yield* resolutions.counters,
      dns: yield* (yield* DnsSockets).counters,
      upstream: yield* (yield* Upstream).counters,
      host: {
        repaired,
        devices_made: devicesMade,
        "host.wrong": wrong?.what.length ?? 0,
        packets_taken: firewall.lost,
        packets_let_through: firewall.healed
      }
    },
    gauges
  }
})

const ofSite = Effect.gen(function* () {
  const site = yield* Site
  const standing = site === null ? null : yield* Effect.orElseSucceed(site.standing, () => null)
  if (standing === null) return []
  const presence = yield* Presence
  const report = presence === null ? null : yield* presence.report
  return siteSeries(standing, report, yield* Clock.currentTimeMillis)
})

const clientSeries = (activity: Activity["clients"]): ReadonlyArray<SeriesValue> =>
  [...activity].flatMap(([client, { bytesIn, bytesOut, flows, refused }]): ReadonlyArray<SeriesValue> => [
    { family: "sallyport_client_bytes_total", labels: { client, direction: "from_client" }, value: bytesIn },
    { family: "sallyport_client_bytes_total", labels: { client, direction: "to_client" }, value: bytesOut },
    { family: "sallyport_client_refused_total", labels: { client }, value: refused },
    { family: "sallyport_client_flows", labels: { client }, value: flows }
  ])

const json = (status: number, value: unknown): Page => ({
  status,
  type: "application/json",
  body: `${JSON.stringify(value)}\n`
})

/** `/healthz` and `/readyz`, the latter of these parts. */
const health = (
  of: (part: ReadinessPart["part"]) => boolean
): Effect.Effect<Routes, never, Effect.Services<typeof ready>> =>
  Effect.map(Effect.context<Effect.Services<typeof ready>>(), (context) => ({
    "/healthz": { anyHost: true, answer: Effect.succeed<Page>({ type: "text/plain", body: "" }) },
    "/readyz": {
      anyHost: true,
      answer: Effect.map(Effect.provide(ready, context), (parts) => {
        const notReady = parts.filter(({ part, why }) => of(part) && why !== null)
        return json(notReady.length === 0 ? 200 : 503, { version, ready: notReady.length === 0, notReady })
      })
    }
  }))

/**
 * Serves health alone, where a portal's gateways do. Ready is, as there, who has heard of the portal and set its tunnel up:
 * who watches this restarts what is not ready, which mends no DNS server and nothing on the host.
 */
export const serveHealth = Effect.fnUntraced(function* (at: HostPort, setting: string) {
  yield* Effect.asVoid(listen(at, setting, yield* health((part) => part === "tunnel")))
})

interface MonitorOptions {
  /** `null`: nothing is served; metrics are folded all the same, for OTLP. */
  readonly at: HostPort | null
  /** What an operator sets to have it elsewhere. */
  readonly setting: string
  /** Whether metrics tell each client's traffic just now. */
  readonly perClient: () => boolean
  readonly about: Parameters<typeof dashboardRoutes>[0]
}

/** Folds the metrics, and serves everything, until the scope closes; yields how it is with the listener, `null` without. */
export const serveMonitor = Effect.fnUntraced(function* ({ about, at, perClient, setting }: MonitorOptions) {
  const fold = yield* makeGatewayMetrics
  const dashboard = yield* dashboardRoutes(about)
  const context = yield* Effect.context<Effect.Services<ReturnType<typeof readings>>>()
  const folded = Effect.suspend(() => readings(perClient())).pipe(
    Effect.tap((read) => Effect.sync(() => fold(read))),
    Effect.provide(context)
  )
  const dataPlane = yield* DataPlane
  const sampling = Effect.andThen(Effect.flatMap(dataPlane.counters, dashboard.sample), Effect.sleep(sampleEvery))
  yield* Effect.forkScoped(superviseForever("Monitor.sample", sampling))
  yield* Effect.forkScoped(superviseForever("Monitor.fold", Effect.andThen(folded, Effect.sleep(foldEvery))))
  if (at === null) return Effect.succeed(null)
  const routes = {
    ...(yield* health(() => true)),
    ...dashboard.routes,
    "/metrics": {
      atMost: maxScrapes,
      answer: Effect.andThen(folded, PrometheusMetrics.format()).pipe(
        Effect.map((body): Page => ({ type: "text/plain; version=0.0.4; charset=utf-8", body }))
      )
    }
  }
  return yield* listen(at, setting, routes)
})
