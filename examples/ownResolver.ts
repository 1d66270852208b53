/**
 * A gateway with a Resolver of one's own: names from a table, no DNS server behind it. As root:
 * `node examples/ownResolver.ts sallyport.yaml`
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { readConfig } from "sallyport/readConfig"
import * as Gateway from "sallyport/Gateway"
import { NameNotFound, ResolutionError, Resolver } from "sallyport/Resolver"

const table = new Map([["app.corp.internal", ["10.20.0.20"]]])

const resolver = Layer.succeed(Resolver, {
  resolve: (name) => {
    const addresses = table.get(name.domain)
    return addresses === undefined
      ? new ResolutionError({ ...name, reason: new NameNotFound({ ttlSeconds: 60 }) })
      : Effect.succeed({ addresses, ttlSeconds: 60 })
  }
})

const program = Effect.gen(function* () {
  const config = yield* readConfig(process.argv[2] ?? "sallyport.yaml")
  return yield* Gateway.runGateway(config, { swap: (live) => ({ ...live, resolver }) })
})

NodeRuntime.runMain(Effect.provide(program, NodeServices.layer))
