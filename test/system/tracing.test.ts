import { assert, it } from "@effect/vitest"
import { Clock, Effect } from "effect"
import { startNameServer, startOrigins, startVisitor } from "../../src/lab/demo/company.ts"
import { Lab } from "../../src/lab/demo/Lab.ts"
import { startGateway, tunnelAddresses } from "../../src/lab/demo/tunnel.ts"
import { gatewayConfig, inLab, inner } from "../support/lab.ts"
import { appName, connectWireguardGo } from "../support/labWorld.ts"
import { ports, startListeners } from "../support/tracing.ts"

/** Gateway, company and a connected client; the answer of one question through the tunnel. */
const askOnce = Effect.fnUntraced(function* (options: {
  readonly flags?: ReadonlyArray<string>
  readonly env?: Readonly<Record<string, string>>
}) {
  const lab = yield* Lab
  const clientKeys = yield* lab.keyPair
  const nameServer = yield* startNameServer
  yield* nameServer.set({ name: appName, a: [inner.origin.v4], aaaa: [inner.origin.v6], ttl: 5 })
  const origins = yield* startOrigins
  const visitor = yield* startVisitor()
  const config = gatewayConfig({
    clientKey: clientKeys.publicKey,
    resources: `  intranet: { name: "*.corp.internal", resolver: corp, allow: [visitor] }`
  })
  const started = yield* Clock.currentTimeMillis
  const gateway = yield* startGateway({ config, ...options })
  const startMs = (yield* Clock.currentTimeMillis) - started
  yield* connectWireguardGo({ nameServer, origins, visitor, gateway, clientKeys, proxyOf: () => Effect.succeed("") })
  const ask = visitor.resolve({ server: tunnelAddresses.gateway.v4, name: appName, type: "A" })
  const answer = yield* ask
  return { answer, config, gateway, nameServer, startMs, visitor }
})

/** A span as OTLP has it. */
interface ExportedSpan {
  readonly name: string
  readonly kind: number
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly links: ReadonlyArray<{ readonly spanId: string }>
  readonly status: { readonly code: number; readonly message?: string }
  readonly attributes: ReadonlyArray<Attribute>
}

interface Attribute {
  readonly key: string
  readonly value: { readonly stringValue?: string; readonly intValue?: number; readonly doubleValue?: number }
}

const kindServer = 2
const kindClient = 3
const statusOk = 1
const statusError = 2

const spansIn = (body: unknown): ReadonlyArray<ExportedSpan> =>
  (
    body as {
      readonly resourceSpans: ReadonlyArray<{
        readonly scopeSpans: ReadonlyArray<{ readonly spans: ReadonlyArray<ExportedSpan> }>
      }>
    }
  ).resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans))

interface LogRecord {
  readonly body: { readonly stringValue?: string }
  readonly attributes: ReadonlyArray<Attribute>
}

const recordsIn = (body: unknown): ReadonlyArray<LogRecord> =>
  (
    body as {
      readonly resourceLogs: ReadonlyArray<{
        readonly scopeLogs: ReadonlyArray<{ readonly logRecords: ReadonlyArray<LogRecord> }>
      }>
    }
  ).resourceLogs.flatMap(({ scopeLogs }) => scopeLogs.flatMap(({ logRecords }) => logRecords))

const textOf = (attributes: ReadonlyArray<Attribute>, key: string): string | undefined =>
  attributes.find((one) => one.key === key)?.value.stringValue

it.live(
  "a question arrives as spans in the dev tools and in a collector, which gets events and metrics too; packets do not",
  () =>
    Effect.gen(function* () {
      const listeners = yield* startListeners
      const { answer, nameServer, visitor } = yield* askOnce({
        flags: ["--dev-tools"],
        env: {
          OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${ports.collector}`,
          OTEL_BSP_SCHEDULE_DELAY: "200",
          OTEL_METRIC_EXPORT_INTERVAL: "500"
        }
      })
      const spanNamed = (name: string) =>
        listeners.first((line) => ("span" in line && line.span === name ? line : undefined))

      const { attributes } = yield* spanNamed("ConnectionAcceptor.accept")
      assert.deepStrictEqual(attributes, {
        client: "visitor",
        resource: "intranet",
        domain: appName,
        outcome: "Resolving"
      })
      const looked = yield* spanNamed("Resolutions.lookup")
      assert.deepInclude(looked.attributes, { domain: appName, cause: "First", outcome: "answer" })
      const posted = <A>(path: string, pick: (body: unknown) => A | undefined) =>
        listeners.first((line) => ("post" in line && line.post === path ? pick(line.body) : undefined))
      const exported = (name: string, domain = appName) =>
        posted("/v1/traces", (body) =>
          spansIn(body).find((span) => span.name === name && textOf(span.attributes, "domain") === domain)
        )
      const accepted = yield* exported("ConnectionAcceptor.accept")
      const lookup = yield* exported("Resolutions.lookup")
      const question = yield* exported("ControlPlane.question")
      assert.deepStrictEqual(
        [question.kind, question.parentSpanId, question.status.code],
        [kindServer, undefined, statusOk]
      )
      assert.strictEqual(accepted.parentSpanId, question.spanId)
      assert.notStrictEqual(lookup.traceId, question.traceId)
      assert.strictEqual(lookup.links[0]?.spanId, accepted.spanId)

      const before = listeners.seen.filter((line) => "span" in line).length
      const page = yield* visitor.get({ address: answer.addresses![0]!, path: "/bytes/3000000", timeout: 20_000 })
      assert.strictEqual(page.sha256, page.expected)
      // Thousands of packets; an answer past its TTL may lead to a decision and a lookup.
      assert.isAtMost(listeners.seen.filter((line) => "span" in line).length - before, 10)

      yield* nameServer.set({ mode: "servfail" })
      const broken = "broken.corp.internal"
      yield* visitor.resolve({ server: tunnelAddresses.gateway.v4, name: broken, type: "A" })
      const failed = yield* exported("Resolutions.lookup", broken)
      assert.strictEqual(failed.status.code, statusError)
      assert.match(failed.status.message ?? "", /SERVFAIL/)
      const asked = yield* posted("/v1/traces", (body) =>
        spansIn(body).find(({ name, traceId }) => name === "Upstream.exchange" && traceId === failed.traceId)
      )
      assert.strictEqual(asked.kind, kindClient)

      const event = yield* posted("/v1/logs", (body) =>
        recordsIn(body).find(({ attributes }) => textOf(attributes, "event.name") === "FlowOpened")
      )
      assert.match(
        event.body.stringValue ?? "",
        /^flow opened visitor → app\.corp\.internal \(.*\) tcp\/80 of intranet/
      )
      assert.deepStrictEqual(
        ["client", "domain", "protocol"].map((key) => textOf(event.attributes, key)),
        ["visitor", appName, "tcp"]
      )
      const metrics = yield* posted("/v1/metrics", (body) => {
        const text = JSON.stringify(body)
        return /"asDouble":3\d{6}\b/.test(text) ? text : undefined
      })
      assert.include(metrics, "sallyport_bytes_total")
    }).pipe(inLab),
  { timeout: 90_000 }
)

it.live(
  "nobody listening harms nothing: started within two seconds more, clients served, ended at once",
  () =>
    Effect.gen(function* () {
      const env = { OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${ports.collector}` }
      const { answer, config, gateway, startMs } = yield* askOnce({ flags: ["--dev-tools"], env })

      assert.isNotEmpty(answer.addresses)
      const output = yield* gateway.process.output
      assert.match(output, /level=WARN .*no dev tools listen at ws:\/\/localhost:34437/)
      const stopping = yield* Clock.currentTimeMillis
      assert.strictEqual(yield* gateway.process.stop, 0)
      assert.isBelow((yield* Clock.currentTimeMillis) - stopping, 4500)

      const plainFrom = yield* Clock.currentTimeMillis
      yield* startGateway({ config })
      const plainMs = (yield* Clock.currentTimeMillis) - plainFrom
      assert.isBelow(startMs - plainMs, 2000)
    }).pipe(inLab),
  { timeout: 90_000 }
)
