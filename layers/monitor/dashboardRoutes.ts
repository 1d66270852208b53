/** The dashboard: a page, its parts, and what it shows as server-sent events. */
import { readFileSync } from "node:fs"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { EventLog } from "../../src/events/EventLog.ts"
import { monotonicMillis } from "../../src/loops/monotonic.ts"
import { dashboardView, trafficOf } from "../../src/monitor/dashboardView.ts"
import { gatewayReport } from "../cli/gatewayReport.ts"
import type { Routes } from "./httpListener.ts"

/** More than so many would rather not look at once. */
const maxWatchers = 8
const watchEvery = "1 second"
/** However many watch, what they see is made anew no sooner than after so long, and in a twentieth of the time at most. */
const shownForMs = 900
const timeShare = 20
/** A browser that has lost its connection tries again after so long. */
const retryMs = 2_000
/** Totals that a browser begins its lines with. */
const maxSamples = 300

/**
 * Yields the routes, and what takes the packet path's counters in, once a second, for who comes to look later. A view is
 * made only while somebody watches.
 */
export const dashboardRoutes = Effect.fnUntraced(function* (about: () => Parameters<typeof gatewayReport>[0]) {
  const { list } = yield* EventLog
  const view = Effect.gen(function* () {
    const report = yield* gatewayReport(about())
    const parts = Object.entries(dashboardView(report, yield* list))
    return {
      at: Math.round(report.at / 1_000),
      parts: parts.map(([name, part]) => [name, JSON.stringify(part)] as const)
    }
  })
  const context = yield* Effect.context<Effect.Services<typeof view>>()
  let shown: { readonly until: number; readonly view: Effect.Success<typeof view> } | undefined
  const latest = Effect.gen(function* () {
    const now = yield* monotonicMillis
    if (shown !== undefined && now < shown.until) return shown.view
    const made = yield* view
    const took = (yield* monotonicMillis) - now
    shown = { until: now + Math.max(shownForMs, timeShare * took), view: made }
    return made
  }).pipe(Effect.provide(context))

  const samples: Array<ReturnType<typeof trafficOf> & { readonly at: number }> = []
  const sample = Effect.fnUntraced(function* (dataPlane: Readonly<Record<string, number>>) {
    samples.push({ at: Math.round((yield* Clock.currentTimeMillis) / 1_000), ...trafficOf(dataPlane) })
    if (samples.length > maxSamples) samples.shift()
  })

  /** One for each who watches: of each part only what differs from what it has. */
  const feed = (): Effect.Effect<string> => {
    const known = new Map<string, string>()
    return Effect.gen(function* () {
      const isFirst = known.size === 0
      if (!isFirst) yield* Effect.sleep(watchEvery)
      const { at, parts } = yield* latest
      const news = parts.filter(([name, text]) => known.get(name) !== text)
      for (const [name, text] of news) known.set(name, text)
      const fields = [...news, ...(isFirst ? [["samples", JSON.stringify(samples)] as const] : [])]
      const data = `data: {"at":${at}${fields.map(([name, text]) => `,"${name}":${text}`).join("")}}\n\n`
      return isFirst ? `retry: ${retryMs}\n${data}` : data
    })
  }
  const routes: Routes = {
    "/": file("index.html", "text/html"),
    "/dashboard.css": file("dashboard.css", "text/css"),
    "/dashboard.js": file("dashboard.js", "text/javascript"),
    "/events": { atMost: maxWatchers, answer: Effect.sync(() => ({ type: "text/event-stream", next: feed() })) }
  }
  return { routes, sample }
})

const file = (name: string, type: string): Routes[string] => {
  const body = readFileSync(new URL(`./dashboard/${name}`, import.meta.url), "utf8")
  return { answer: Effect.succeed({ type: `${type}; charset=utf-8`, body }) }
}
