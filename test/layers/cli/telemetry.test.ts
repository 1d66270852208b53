import { createServer } from "node:http"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeSocketServer from "@effect/platform-node/NodeSocketServer"
import { assert, describe, it } from "@effect/vitest"
import {
  Cause,
  ConfigProvider,
  Effect,
  Fiber,
  Layer,
  Logger,
  Metric,
  Option,
  Queue,
  Result,
  Schedule,
  Schema,
  Tracer
} from "effect"
import { DevToolsServer } from "effect/devtools"
import { FetchHttpClient, HttpServer, HttpServerRequest, HttpServerResponse } from "effect/http"
import { PrometheusMetrics } from "effect/observability"
import { SocketServer } from "effect/socket"
import { TestClock } from "effect/testing"
import * as ResolverMemory from "../../../layers/memory/ResolverMemory.ts"
import { destinations } from "../../../layers/access/destinationRules.ts"
import * as IpFamiliesLive from "../../../layers/host/IpFamilies.ts"
import * as NameFilesMemory from "../../../layers/memory/NameFilesMemory.ts"
import * as StateStoreMemory from "../../../layers/memory/StateStoreMemory.ts"
import * as telemetry from "../../../layers/cli/telemetry.ts"
import { makeGatewayMetrics } from "../../../layers/monitor/gatewayMetrics.ts"
import * as TunnelNamesLive from "../../../layers/control/standalone/TunnelNames.ts"
import { parseConfig } from "../../../src/config/parseConfig.ts"
import { EventCollectors } from "../../../src/events/EventCollectors.ts"
import { TunnelNames } from "../../../src/control/standalone/TunnelNames.ts"
import { recordType } from "../../../src/dns/registry.ts"
import { MappingId } from "../../../src/model/Mapping.ts"
import { Refresh } from "../../../src/resolution/Refresh.ts"
import { NameNotFound, ResolutionError, ServerFailure, Timeout } from "../../../src/resolution/Resolver.ts"
import { somePort } from "../../support/somePort.ts"
import { upstreamMock } from "../../support/upstreamMock.ts"
import { layerAccess } from "../../support/access.ts"
import { attributesOf, layerRecorder, RecordedSpans, spansOf } from "../../support/recordedSpans.ts"

const config = Result.getOrThrow(
  parseConfig(
    `endpoint: 192.0.2.1:51820
clients:
  alice: { public_key: "${Buffer.alloc(32, 1).toString("base64")}", tunnel_ipv4: 100.64.0.2 }
resources:
  intranet: { name: "*.corp.internal", allow: [alice] }
`,
    "sallyport.yaml"
  )
)

const layerQuestions = TunnelNamesLive.layer(config).pipe(
  Layer.provideMerge(layerAccess),
  Layer.provide([NameFilesMemory.none, StateStoreMemory.layer, destinations(config.network), IpFamiliesLive.layer]),
  Layer.provide(
    upstreamMock({
      epoch: () => Effect.succeed(0),
      epochAtOnce: () => 0,
      exchange: () =>
        Effect.fail(
          new ResolutionError({ resolver: "system", domain: "example.com", reason: new Timeout({ afterMs: 4_000 }) })
        )
    })
  ),
  Layer.provideMerge(layerRecorder)
)

/** `Success`, or what the failure says. */
const endOf = (span: Tracer.Span | undefined): string => {
  if (span?.status._tag !== "Ended") return "not ended"
  const { exit } = span.status
  return exit._tag === "Success" ? exit._tag : Cause.prettyErrors(exit.cause)[0]!.message
}

const question = (domain: string, type = recordType.A) =>
  ({ domain, type, family: type === recordType.A ? 4 : null, reverse: null }) as const

describe("spans of a tunnel DNS question", () => {
  it.effect(
    "tell who asked, what was decided and, as its child, what was accepted; the lookup is a span of its own",
    () =>
      Effect.gen(function* () {
        const names = yield* TunnelNames
        const script = yield* ResolverMemory.ResolverScript
        yield* script.set("*", ResolverMemory.answer(["10.20.0.10"]))

        yield* names.answer("100.64.0.2", question("app.corp.internal"))
        yield* TestClock.adjust("1 second")

        const [asked] = yield* spansOf("ControlPlane.question")
        const [accepted] = yield* spansOf("ConnectionAcceptor.accept")
        const [looked] = yield* spansOf("Resolutions.lookup")
        const subject = { client: "alice", resource: "intranet", domain: "app.corp.internal" }
        assert.deepStrictEqual(attributesOf(asked), { ...subject, route: "Resource", type: 1, outcome: "Addresses" })
        assert.deepInclude(attributesOf(accepted), { ...subject, outcome: "Resolving" })
        assert.deepInclude(attributesOf(looked), { domain: "app.corp.internal", cause: "First", outcome: "answer" })
        assert.strictEqual(Option.getOrThrow(accepted!.parent).spanId, asked!.spanId)
        // Its own trace, as others may wait for the same name; one finds the way back by the link.
        assert.isTrue(Option.isNone(looked!.parent))
        assert.deepStrictEqual(
          looked!.links.map(({ span }) => span.spanId),
          [accepted!.spanId]
        )
        assert.deepStrictEqual([asked!.kind, accepted!.kind, looked!.kind], ["server", "server", "internal"])
        assert.deepStrictEqual([asked, accepted, looked].map(endOf), ["Success", "Success", "Success"])
      }).pipe(Effect.provide(layerQuestions))
  )

  it.effect("are a trace of their own, whatever span the gateway was started in", () =>
    Effect.gen(function* () {
      const names = yield* TunnelNames
      const script = yield* ResolverMemory.ResolverScript
      yield* script.set("*", ResolverMemory.answer(["10.20.0.10"]))
      yield* Effect.all(
        ["a", "b"].map((name) => names.answer("100.64.0.2", question(`${name}.corp.internal`))),
        { discard: true }
      ).pipe(Effect.withSpan("start-up"))
      yield* TestClock.adjust("1 second")

      const [startUp] = yield* spansOf("start-up")
      const asked = yield* spansOf("ControlPlane.question")
      const looked = yield* spansOf("Resolutions.lookup")
      assert.lengthOf(asked, 2)
      assert.isTrue(asked.every(({ parent }) => Option.isNone(parent)))
      const traces = [startUp!, ...asked, ...looked].map(({ traceId }) => traceId)
      assert.lengthOf(new Set(traces), traces.length)
    }).pipe(Effect.provide(layerQuestions))
  )

  it.effect("end as failed where DNS did, and not where a name does not exist", () =>
    Effect.gen(function* () {
      const names = yield* TunnelNames
      const script = yield* ResolverMemory.ResolverScript
      yield* script.set("gone.corp.internal", ResolverMemory.fail(new NameNotFound({ ttlSeconds: 5 })))
      yield* script.set("down.corp.internal", ResolverMemory.fail(new ServerFailure({ detail: "SERVFAIL" })))
      yield* names.answer("100.64.0.2", question("gone.corp.internal"))
      yield* names.answer("100.64.0.2", question("down.corp.internal"))
      // Before the failed one is tried again.
      yield* TestClock.adjust("500 millis")
      yield* names.answer("100.64.0.2", question("example.com"))

      assert.deepStrictEqual((yield* spansOf("Resolutions.lookup")).map(endOf), [
        "Success",
        "DNS server failed: SERVFAIL"
      ])
      assert.match(endOf((yield* spansOf("ControlPlane.question")).at(-1)), /^(?!Success)/)
    }).pipe(Effect.provide(layerQuestions))
  )

  it.effect("tell of names that are nobody's, of failing servers and of strangers, too", () =>
    Effect.gen(function* () {
      const names = yield* TunnelNames

      yield* names.answer("100.64.0.2", question("example.com"))
      yield* names.answer("100.64.0.9", question("app.corp.internal"))

      const client = { client: "alice", resource: null, route: "Forward" }
      assert.deepStrictEqual((yield* spansOf("ControlPlane.question")).map(attributesOf), [
        { ...client, domain: "example.com", type: 1, route: "Forward", outcome: "ServerFailure" },
        { domain: "app.corp.internal", type: 1, outcome: "Dropped" }
      ])
      assert.deepStrictEqual(yield* spansOf("ConnectionAcceptor.accept"), [])
    }).pipe(Effect.provide(layerQuestions))
  )

  it.effect("are as many as decisions: replies of real hosts, however many, make none", () =>
    Effect.gen(function* () {
      const refresh = yield* Refresh
      const names = yield* TunnelNames
      const script = yield* ResolverMemory.ResolverScript
      yield* script.set("*", ResolverMemory.answer(["10.20.0.10"]))
      yield* names.answer("100.64.0.2", question("app.corp.internal"))
      yield* TestClock.adjust("1 second")
      const before = (yield* RecordedSpans).length
      const notice = { _tag: "Traffic", epoch: 1, mapping: MappingId.make("alice/intranet/app.corp.internal") } as const

      yield* Effect.replicateEffect(refresh.traffic({ ...notice, cause: "Answered" }), 1000, { discard: true })
      assert.strictEqual((yield* RecordedSpans).length, before)
      yield* refresh.traffic({ ...notice, cause: "Unanswered" })

      assert.strictEqual((yield* spansOf("Refresh.decide")).length, 1)
    }).pipe(Effect.provide(layerQuestions))
  )
})

/** The names of ended spans that came, from all connections; the server lives as long as the scope. */
const listen = Effect.fnUntraced(function* (port: number) {
  const names = yield* Queue.unbounded<string>()
  const context = yield* Layer.build(NodeSocketServer.layerWebSocket({ port, host: "127.0.0.1" }))
  const server = yield* Effect.provide(SocketServer.SocketServer, context)
  yield* DevToolsServer.run((client) =>
    Queue.take(client.queue).pipe(
      Effect.flatMap((request) =>
        request._tag === "Span" && request.status._tag === "Ended" ? Queue.offer(names, request.name) : Effect.void
      ),
      Effect.forever
    )
  ).pipe(Effect.provide(context), Effect.forkScoped)
  const address = server.address
  return { names, port: "port" in address ? address.port : 0 }
})

const span = (name: string) => Effect.withSpan(Effect.void, name)
const untilSpan = (names: Queue.Dequeue<string>, name: string) =>
  Effect.gen(function* () {
    const seen: Array<string> = []
    while (seen.at(-1) !== name) seen.push(yield* Queue.take(names))
    return seen
  }).pipe(Effect.timeout("10 seconds"))

/** A collector of OTLP over HTTP: path and body of each request. */
const collect = Effect.gen(function* () {
  const posts = yield* Queue.unbounded<{ readonly path: string; readonly body: string }>()
  const context = yield* Layer.build(NodeHttpServer.layer(createServer, { port: 0, host: "127.0.0.1" }))
  const server = yield* Effect.provide(HttpServer.HttpServer, context)
  yield* server.serve(
    Effect.gen(function* () {
      const request = yield* HttpServerRequest.HttpServerRequest
      yield* Queue.offer(posts, { path: request.url, body: yield* Effect.orDie(request.text) })
      return HttpServerResponse.empty()
    })
  )
  return { posts, port: "port" in server.address ? server.address.port : 0 }
})

const withEnvironment = (env: Record<string, string>) =>
  Effect.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env })))

const Traces = Schema.fromJsonString(
  Schema.Struct({
    resourceSpans: Schema.Array(
      Schema.Struct({
        scopeSpans: Schema.Array(Schema.Struct({ spans: Schema.Array(Schema.Struct({ name: Schema.String })) }))
      })
    )
  })
)

const spanNames = Effect.fnUntraced(function* (body: string) {
  const { resourceSpans } = yield* Schema.decodeEffect(Traces)(body)
  return resourceSpans.flatMap((r) => r.scopeSpans.flatMap((s) => s.spans.map((span) => span.name)))
})

const untilTraces = Effect.fnUntraced(function* (
  posts: Queue.Dequeue<{ readonly path: string; readonly body: string }>
) {
  for (;;) {
    const { body, path } = yield* Queue.take(posts)
    if (path === "/v1/traces") return body
  }
}, Effect.timeout("10 seconds"))

/** Log lines of the effect, and how it ended. */
const logged = Effect.fnUntraced(function* <A, E, R>(effect: Effect.Effect<A, E, R>) {
  const lines: Array<string> = []
  const logger = Logger.map(Logger.formatLogFmt, (line) => void lines.push(line))
  yield* Effect.provide(effect, Logger.layer([logger]))
  return lines
})

describe("telemetry", () => {
  it.live("makes no spans where nobody collects them", () =>
    Effect.gen(function* () {
      const traced = Effect.withSpan(
        Effect.map(Effect.currentSpan, (it) => it.sampled),
        "asked"
      )
      const collector = yield* collect

      const alone = yield* Effect.provide(traced, telemetry.layer({ devTools: false })).pipe(withEnvironment({}))
      const collected = yield* Effect.provide(traced, telemetry.layer({ devTools: false })).pipe(
        withEnvironment({ OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${collector.port}` })
      )

      assert.isFalse(alone)
      assert.isTrue(collected)
    })
  )

  it.live("sends spans to the dev tools that the environment names and, by OTLP, to a collector as well", () =>
    Effect.gen(function* () {
      const tools = yield* listen(0)
      const collector = yield* collect

      yield* span("both").pipe(
        Effect.provide(telemetry.layer({ devTools: true })),
        withEnvironment({
          SALLYPORT_DEV_TOOLS_URL: `ws://127.0.0.1:${tools.port}`,
          OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${collector.port}`
        })
      )

      assert.deepStrictEqual(yield* untilSpan(tools.names, "both"), ["both"])
      const body = yield* untilTraces(collector.posts)
      assert.deepStrictEqual(yield* spanNames(body), ["both"])
      assert.include(body, '"stringValue":"sallyport"')
    }).pipe(Effect.scoped)
  )

  it.live("sends what the gateway counts to a collector, with values", () =>
    Effect.gen(function* () {
      const collector = yield* collect

      yield* Effect.gen(function* () {
        const fold = yield* makeGatewayMetrics
        const none = { controlPlane: {}, resolutions: {}, dns: {}, upstream: {}, host: {} }
        fold({ counters: { ...none, dataPlane: { "outbound.bytes": 4321 } }, gauges: [] })
        yield* Effect.sleep("300 millis")
      }).pipe(
        Effect.scoped,
        Effect.provide(telemetry.layer({ devTools: false })),
        withEnvironment({
          OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${collector.port}`,
          OTEL_METRIC_EXPORT_INTERVAL: "50"
        }),
        Effect.provideService(Metric.MetricRegistry, new Map())
      )

      const posts = (yield* Queue.takeAll(collector.posts)).filter(({ path }) => path === "/v1/metrics")
      const told = posts.map(({ body }) => body).find((body) => body.includes("sallyport_bytes_total"))
      assert.match(told ?? "", /"asDouble":4321\b/)
      assert.match(told ?? "", /"unit":"By"/)
    })
  )

  it.effect("keeps 16 posts of a collector that does not answer, for 10 s each, and drops the others", () =>
    Effect.gen(function* () {
      let open = 0
      const silent: typeof fetch = (_url, options) =>
        new Promise((_resolve, reject) => {
          open++
          options?.signal?.addEventListener("abort", () => {
            open--
            reject(new Error("given up"))
          })
        })
      yield* Effect.gen(function* () {
        const tell = Effect.provideService(
          Effect.logInfo("told"),
          Logger.CurrentLoggers,
          new Set((yield* EventCollectors).values())
        )
        for (let batch = 0; batch < 20; batch++) {
          yield* Effect.replicateEffect(tell, 1_000, { discard: true })
          yield* TestClock.adjust("1 millis")
        }
        assert.strictEqual(open, 16)
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual(open, 0)
        const told = yield* PrometheusMetrics.format()
        assert.match(told, /^sallyport_telemetry_events_total\{key="dropped"\} [4-9]$/m)
        assert.match(told, /^sallyport_telemetry_events_total\{key="timed_out"\} 16$/m)
        // The last try fails, or the end would wait for it.
        yield* TestClock.adjust("1 minute")
      }).pipe(
        Effect.provide(telemetry.layer({ devTools: false })),
        withEnvironment({
          OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1",
          OTEL_TRACES_EXPORTER: "none",
          OTEL_METRICS_EXPORTER: "none"
        }),
        Effect.provideService(FetchHttpClient.Fetch, silent),
        Effect.provideService(Metric.MetricRegistry, new Map())
      )
    })
  )

  it.live("starts without a listener, drops spans until one comes, then sends those that follow", () =>
    Effect.gen(function* () {
      const port = somePort()
      const started = performance.now()

      const lines = yield* logged(
        Effect.gen(function* () {
          assert.isBelow(performance.now() - started, 2000)
          yield* Effect.replicateEffect(span("unheard"), 100)
          const tools = yield* listen(port)
          yield* span("heard").pipe(Effect.repeat(Schedule.spaced("50 millis")), Effect.forkScoped)
          assert.deepStrictEqual(new Set(yield* untilSpan(tools.names, "heard")), new Set(["heard"]))
        }).pipe(
          Effect.scoped,
          Effect.provide(telemetry.layer({ devTools: true })),
          withEnvironment({ SALLYPORT_DEV_TOOLS_URL: `ws://127.0.0.1:${port}` })
        )
      )

      assert.isTrue(lines.some((line) => line.includes("no dev tools listen at ws://127.0.0.1:")))
    })
  )

  it.live("ends at once when nobody ever listened", () =>
    Effect.gen(function* () {
      const port = somePort()
      const fiber = yield* Effect.forkChild(
        span("unheard").pipe(
          Effect.andThen(Effect.never),
          Effect.provide(telemetry.layer({ devTools: true })),
          withEnvironment({ SALLYPORT_DEV_TOOLS_URL: `ws://127.0.0.1:${port}` })
        )
      )
      yield* Effect.sleep("1500 millis")
      const at = performance.now()

      yield* Fiber.interrupt(fiber)

      assert.isBelow(performance.now() - at, 1000)
    })
  )

  for (const [variable, value] of [
    ["SALLYPORT_DEV_TOOLS_URL", "localhost:34437"],
    ["OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318"],
    ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "nonsense"],
    ["OTEL_BSP_SCHEDULE_DELAY", "soon"]
  ] as const) {
    it.live(`names ${variable} when it makes no sense, and goes on without tracing`, () =>
      Effect.gen(function* () {
        const others = variable.startsWith("OTEL_BSP") ? { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1" } : {}
        const lines = yield* logged(
          span("lost").pipe(
            Effect.provide(telemetry.layer({ devTools: variable.startsWith("SALLYPORT") })),
            withEnvironment({ ...others, [variable]: value })
          )
        )

        assert.strictEqual(lines.length, 1, lines.join("\n"))
        assert.match(lines[0]!, /level=WARN.*no tracing: /)
        assert.include(lines[0], variable)
      })
    )
  }

  it.live("has nobody who collects events, and prints none, when no collector is named", () =>
    Effect.gen(function* () {
      const collectors = yield* EventCollectors.pipe(
        Effect.provide(
          Layer.provide(
            telemetry.layer({ devTools: false }),
            Logger.layer([Logger.withConsoleError(Logger.formatLogFmt)])
          )
        ),
        withEnvironment({})
      )
      assert.deepStrictEqual([...collectors], [])
    })
  )

  it.live("leaves the tracer alone when nothing is asked for", () =>
    Effect.gen(function* () {
      const tracer = yield* Effect.tracer
      const inside = yield* Effect.tracer.pipe(
        Effect.provide(telemetry.layer({ devTools: false })),
        withEnvironment({ SALLYPORT_DEV_TOOLS_URL: "ws://127.0.0.1:1" })
      )
      assert.strictEqual<Tracer.Tracer>(inside, tracer)
    })
  )
})
