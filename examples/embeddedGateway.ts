/**
 * A gateway inside another program, here a web server that shows what the gateway knows, with the Effect dev tools
 * attached. As root: `node examples/embeddedGateway.ts sallyport.yaml`, then `curl localhost:8081/names`;
 * `curl -X POST localhost:8081/close` ends the gateway and leaves the program to itself.
 */
import { createServer } from "node:http"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Console from "effect/Console"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import { readConfig } from "sallyport/readConfig"
import { DataPlane } from "sallyport/DataPlane"
import * as Gateway from "sallyport/Gateway"
import { Resolutions } from "sallyport/Resolutions"
import * as telemetry from "sallyport/telemetry"

const names = Effect.gen(function* () {
  const resolutions = yield* Resolutions
  const mappings = yield* resolutions.list
  return yield* HttpServerResponse.json(
    mappings.map(({ mapping, state }) => ({ client: mapping.client, name: mapping.name.domain, state }))
  )
})

const pages = (closed: Deferred.Deferred<void>) =>
  HttpRouter.serve(
    Layer.mergeAll(
      HttpRouter.add("GET", "/names", names),
      HttpRouter.add("POST", "/close", Effect.as(Deferred.succeed(closed, undefined), HttpServerResponse.empty()))
    )
  ).pipe(Layer.provide(NodeHttpServer.layer(createServer, { port: 8081, host: "127.0.0.1" })))

const program = Effect.gen(function* () {
  const config = yield* readConfig(process.argv[2] ?? "sallyport.yaml")
  const closed = yield* Deferred.make<void>()
  const gateway = Gateway.layer(config).pipe(Layer.provide(telemetry.layer({ devTools: true })))
  yield* Effect.gen(function* () {
    const { failure } = yield* DataPlane
    yield* Effect.raceFirst(Deferred.await(closed), failure)
  }).pipe(Effect.provide(pages(closed).pipe(Layer.provideMerge(gateway))))
  yield* Console.log("the gateway is gone, the program goes on")
})

NodeRuntime.runMain(Effect.provide(program, NodeServices.layer))
