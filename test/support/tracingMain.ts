/**
 * Both listeners for spans, as a child process in the lab: dev tools (WebSocket) and an OTLP collector (HTTP), on the
 * loopback ports given as arguments. Prints one line of JSON per ended span and per request.
 */
import { createServer } from "node:http"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeSocketServer from "@effect/platform-node/NodeSocketServer"
import { Effect, Layer, Queue } from "effect"
import { DevToolsServer } from "effect/devtools"
import { HttpServer, HttpServerRequest, HttpServerResponse } from "effect/http"

const [devToolsPort = 0, collectorPort = 0] = process.argv.slice(2).map(Number)
const print = (line: object) => Effect.sync(() => void process.stdout.write(`${JSON.stringify(line)}\n`))

const devTools = DevToolsServer.run((client) =>
  Queue.take(client.queue).pipe(
    Effect.flatMap((request) =>
      request._tag === "Span" && request.status._tag === "Ended"
        ? print({ span: request.name, attributes: Object.fromEntries(request.attributes) })
        : Effect.void
    ),
    Effect.forever
  )
).pipe(Effect.provide(NodeSocketServer.layerWebSocket({ port: devToolsPort, host: "127.0.0.1" })))

const collector = HttpServer.serve(
  Effect.gen(function* () {
    const request = yield* HttpServerRequest.HttpServerRequest
    const body = yield* Effect.orDie(request.json)
    yield* print({ post: request.url, body })
    return HttpServerResponse.empty()
  })
).pipe(Layer.provide(NodeHttpServer.layer(createServer, { port: collectorPort, host: "127.0.0.1" })))

print({ listening: true }).pipe(
  Effect.andThen(Effect.all([devTools, Layer.launch(collector)], { concurrency: 2 })),
  NodeRuntime.runMain
)
