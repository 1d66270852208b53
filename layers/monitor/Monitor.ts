/** What a gateway tells by HTTP: health, metrics and the dashboard. */
import { readFileSync } from "node:fs"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as PrometheusMetrics from "effect/observability/PrometheusMetrics"
import { Clients } from "../../src/access/Clients.ts"
import type { HostPort } from "../../src/config/GatewayConfig.ts"
import { ControlPlane } from "../../src/control/ControlPlane.ts"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import { Upstream } from "../../src/dns/Upstream.ts"
import { DnsSockets } from "../../src/host/DnsSockets.ts"
import { Tunnel } from "../../src/host/Tunnel.ts"
import { monotonicMillis } from "../../src/loops/monotonic.ts"
import { superviseForever } from "../../src/loops/superviseForever.ts"
import { dashboardView } from "../../src/monitor/dashboardView.ts"
import type { Series } from "../../src/monitor/metricFamilies.ts"
import { readiness, type ReadinessPart } from "../../src/monitor/readiness.ts"
import { Resolutions } from "../../src/resolution/Resolutions.ts"
import { version } from "../host/version.ts"
import { makeGatewayMetrics } from "./gatewayMetrics.ts"
import { type Feed, listen, type Page, type Routes } from "./httpListener.ts"

const foldEvery = "1 second"

const ready = Effect.gen(function* () {
  const tunnel = yield* Tunnel
  return readiness({
    dataPlaneCounters: yield* (yield* DataPlane).counters,
    configured: tunnel.ready(),
    host: yield* tunnel.kept,
    dnsServers: yield* (yield* Upstream).servers
  })
})

const readings = Effect.gen(function* () {
  const dataPlane = yield* DataPlane
  const resolutions = yield* Resolutions
  const tunnel = yield* Tunnel
  const { devicesMade, repaired, wrong } = yield* tunnel.kept
  const { counters: firewall } = yield* tunnel.firewall
  const clients = [...(yield* dataPlane.clients).values()]
  const connected = clients.filter((client) => client.connected).length
  const gauges: ReadonlyArray<Series & { readonly value: number }> = [
    { family: "sallyport_clients", labels: { state: "connected" }, value: connected },
    { family: "sallyport_clients", labels: { state: "away" }, value: clients.length - connected },
    ...(yield* ready).map(({ part, why }) => ({
      family: "sallyport_ready" as const,
      labels: { part },
      value: Number(why === null)
    }))
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

const json = (status: number, value: unknown): Page => ({
  status,
  type: "application/json",
  body: `${JSON.stringify(value)}\n`
})

/** More than so many would rather not look at once. */
const maxWatchers = 8
const watchEvery = "1 second"

const view = Effect.gen(function* () {
  const dataPlane = yield* DataPlane
  return dashboardView({
    at: yield* Clock.currentTimeMillis,
    now: yield* monotonicMillis,
    parts: yield* ready,
    clients: yield* (yield* Clients).list,
    clientStates: yield* dataPlane.clients,
    mappings: yield* (yield* Resolutions).list,
    dataPlaneCounters: yield* dataPlane.counters
  })
})

/** The page, its parts, and what it shows as server-sent events: made once a second, however many watch, and only then. */
const dashboard = Effect.gen(function* () {
  const context = yield* Effect.context<Effect.Services<typeof view>>()
  const event = yield* Effect.cachedWithTTL(
    Effect.map(Effect.provide(view, context), (shown) => `data: ${JSON.stringify(shown)}\n\n`),
    "900 millis"
  )
  const file = (name: string, type: string): Routes[string] => {
    const body = readFileSync(new URL(`./dashboard/${name}`, import.meta.url), "utf8")
    return { answer: Effect.succeed({ type: `${type}; charset=utf-8`, body }) }
  }
  let watchers = 0
  const watch = Effect.acquireRelease(
    Effect.sync(() => ++watchers),
    () => Effect.sync(() => watchers--)
  )
  return {
    "/": file("index.html", "text/html"),
    "/dashboard.css": file("dashboard.css", "text/css"),
    "/dashboard.js": file("dashboard.js", "text/javascript"),
    "/events": {
      answer: Effect.map(watch, (n): Page | Feed => {
        if (n > maxWatchers) return { status: 503, type: "text/plain", body: "too many watch already\n" }
        let first = true
        const next = Effect.suspend(() => {
          const waited = first ? event : Effect.andThen(Effect.sleep(watchEvery), event)
          first = false
          return waited
        })
        return { type: "text/event-stream", next }
      })
    }
  } satisfies Routes
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

/** Folds the metrics, and serves everything at `at` (nothing if `null`) until the scope closes. */
export const serveMonitor = Effect.fnUntraced(function* (at: HostPort | null, setting: string) {
  const fold = yield* makeGatewayMetrics
  const context = yield* Effect.context<Effect.Services<typeof readings>>()
  const folded = Effect.provide(Effect.map(readings, fold), context)
  yield* Effect.forkScoped(superviseForever("Monitor.fold", Effect.andThen(folded, Effect.sleep(foldEvery))))
  if (at === null) return
  const routes = {
    ...(yield* health(() => true)),
    ...(yield* dashboard),
    "/metrics": {
      answer: Effect.andThen(folded, PrometheusMetrics.format()).pipe(
        Effect.map((body): Page => ({ type: "text/plain; version=0.0.4; charset=utf-8", body }))
      )
    }
  }
  yield* Effect.asVoid(listen(at, setting, routes))
})
