/** `DnsSockets` without sockets: whoever made it asks. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { type DnsHandler, type DnsService, DnsSockets } from "../../src/host/DnsSockets.ts"

export interface SimulatedDnsSockets {
  /** A question to what is served just now; `null` where nothing is. */
  readonly ask: DnsHandler
  readonly layer: Layer.Layer<DnsSockets>
}

export const make = (): SimulatedDnsSockets => {
  const services: Array<DnsService> = []
  return {
    ask: (query, source, transport) =>
      Effect.suspend(() => services.at(-1)?.handler(query, source, transport) ?? Effect.succeed(null)),
    layer: Layer.succeed(
      DnsSockets,
      DnsSockets.of({
        serve: (service) =>
          Effect.acquireRelease(
            Effect.sync(() => {
              services.push(service)
              return service.addresses.map((address) => ({ address, port: service.port }))
            }),
            () => Effect.sync(() => void services.splice(services.indexOf(service), 1))
          ),
        counters: Effect.succeed({})
      })
    )
  }
}
