/**
 * Where spans go: the Effect dev tools when asked for, an OTLP collector when the `OTEL_*` variables name one; log lines,
 * events and metrics go there as well.
 */
import * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as DevToolsClient from "effect/devtools/DevToolsClient"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import type * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import * as Otlp from "effect/observability/Otlp"
import * as OtlpSerialization from "effect/observability/OtlpSerialization"
import * as References from "effect/References"
import * as Schema from "effect/Schema"
import * as Socket from "effect/socket/Socket"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import { EventCollectors } from "../../src/events/EventCollectors.ts"
import { families } from "../../src/monitor/metricFamilies.ts"
import { version } from "../host/version.ts"

/**
 * The dev tools wrap the OTLP tracer, so that both see every span. The gateway needs neither: a listener that is absent,
 * or a variable that makes no sense, costs a warning and the spans, nothing else.
 */
export const layer = (options: { readonly devTools: boolean }): Layer.Layer<never> =>
  options.devTools ? Layer.provideMerge(devTools, otlp) : Layer.provideMerge(noSpansUnheard, otlp)

/** A span that nobody collects is not made. */
const noSpansUnheard: Layer.Layer<never> = Layer.unwrap(
  Effect.map(Effect.context(), (context) =>
    Context.getOrUndefined(context, Tracer.Tracer) === undefined
      ? Layer.succeed(References.TracerEnabled, false)
      : Layer.empty
  )
)

class TelemetryError extends Schema.TaggedError<TelemetryError>()("TelemetryError", { message: Schema.String }) {}

const orWarning = Layer.catchCause((cause: Cause.Cause<unknown>) => {
  const error = Cause.squash(cause)
  const detail = error instanceof Error ? error.message : String(error)
  return Layer.effectDiscard(Effect.logWarning(`no tracing: ${detail.replaceAll(/\s+/g, " ")}`))
})

/** The URL of the variable; `null` when there is none. */
const urlFrom = Effect.fnUntraced(function* (variable: string, schemes: ReadonlyArray<string>) {
  const text = yield* Config.withDefault(Config.String(variable), null)
  if (text === null) return null
  const url = URL.parse(text)
  if (url !== null && schemes.includes(url.protocol)) return url
  return yield* new TelemetryError({
    message: `${variable} is ${JSON.stringify(text)}, write a URL that begins with ${schemes[0]}//`
  })
})

/** Where the dev tools of the editors listen. */
const defaultDevTools = new URL("ws://localhost:34437")

const devTools: Layer.Layer<never> = Layer.unwrap(
  Effect.gen(function* () {
    const url = (yield* urlFrom("SALLYPORT_DEV_TOOLS_URL", ["ws:", "wss:"])) ?? defaultDevTools
    return Layer.effect(Tracer.Tracer, DevToolsClient.makeTracer).pipe(
      Layer.provide(Layer.effect(DevToolsClient.DevToolsClient, clientWhileHeard(url))),
      Layer.provide(Socket.layerWebSocket(url.href, { openTimeout: "1 second" })),
      Layer.provide(Socket.layerWebSocketConstructorGlobal)
    )
  })
).pipe(orWarning)

/** The dev tools' client keeps what it cannot send, without a bound; this one drops spans that nobody listens to. */
const clientWhileHeard = Effect.fnUntraced(function* (url: URL) {
  const socket = yield* Socket.Socket
  let heard = false
  const setHeard = (value: boolean) => Effect.sync(() => void (heard = value))
  const reader = Effect.tap(
    socket.reader,
    Effect.acquireRelease(setHeard(true), () => setHeard(false))
  )
  const client = yield* DevToolsClient.make.pipe(
    Effect.provideService(Socket.Socket, Socket.make({ reader, writer: socket.writer }))
  )
  if (!heard) {
    yield* Effect.logWarning(`no dev tools listen at ${url.href} yet; spans go there as soon as they do`)
  }
  return DevToolsClient.DevToolsClient.of({
    sendUnsafe: (request) => {
      if (heard) client.sendUnsafe(request)
    }
  })
})

/** As the OpenTelemetry specification has it, but not the library: a named endpoint is enough. */
const otlpDefaults = ConfigProvider.fromEnv({
  env: { OTEL_TRACES_EXPORTER: "otlp", OTEL_METRICS_EXPORTER: "otlp", OTEL_LOGS_EXPORTER: "otlp" }
})

/** Posts to a collector at a time, of up to a thousand records each; what comes on top is dropped. */
const maxPosts = 16
const postFor = "10 seconds"

const events = Metric.frequency("sallyport_telemetry_events_total", {
  description: families.sallyport_telemetry_events_total.help
})

/**
 * The exporters keep each post until it is answered, and would for ever. Of an answer they get the status alone: they
 * would read all of it, and wait as long as it says (`Retry-After`).
 */
const bounded = (client: HttpClient.HttpClient): HttpClient.HttpClient => {
  let underWay = 0
  const place = Effect.sync(() => underWay++ < maxPosts)
  const leave = Effect.sync(() => void underWay--)
  return HttpClient.transform(client, (answered, request) => {
    const post = answered.pipe(
      Effect.tap((response) => Effect.ignore(Stream.runDrain(response.stream))),
      Effect.map(({ status }) => statusOnly(request, status)),
      Effect.timeoutOrElse({
        duration: postFor,
        orElse: () => Effect.andThen(Metric.update(events, "timed_out"), Effect.fail(noAnswer(request)))
      })
    )
    const dropped = Effect.as(Metric.update(events, "dropped"), statusOnly(request, 200))
    return Effect.acquireUseRelease(
      place,
      (isFree) => (isFree ? post : dropped),
      () => leave
    )
  })
}

const noAnswer = (request: HttpClientRequest.HttpClientRequest) =>
  new HttpClientError.HttpClientError({
    reason: new HttpClientError.TransportError({ request, description: `no answer within ${postFor}` })
  })

const statusOnly = (request: HttpClientRequest.HttpClientRequest, status: number) =>
  HttpClientResponse.fromWeb(request, new Response(null, { status }))

const client = Layer.effect(HttpClient.HttpClient, Effect.map(HttpClient.HttpClient, bounded)).pipe(
  Layer.provide(FetchHttpClient.layer)
)

const otlp: Layer.Layer<never> = Layer.unwrap(
  Effect.gen(function* () {
    const provider = yield* ConfigProvider.ConfigProvider
    for (const signal of ["", "TRACES_", "METRICS_", "LOGS_"]) {
      yield* urlFrom(`OTEL_EXPORTER_OTLP_${signal}ENDPOINT`, ["http:", "https:"])
    }
    const exporters = Otlp.layerFromConfig({ resource: { serviceName: "sallyport", serviceVersion: version } }).pipe(
      Layer.provide([OtlpSerialization.layerJson, client]),
      Layer.provide(ConfigProvider.layer(ConfigProvider.orElse(provider, otlpDefaults)))
    )
    const before = yield* Logger.CurrentLoggers
    return Layer.effectContext(
      Effect.map(Layer.build(exporters), (context): Context.Context<never> => {
        // Without an exporter none are in it, which is no reason to tell the default ones.
        const loggers = Context.getOrUndefined(context, Logger.CurrentLoggers) ?? []
        const added = [...loggers].filter((logger) => !before.has(logger))
        return Context.add(context, EventCollectors, new Map(added.map((logger) => [logger, logger])))
      })
    )
  })
).pipe(orWarning)
