/** `DnsSockets` without sockets: whoever made it asks. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { type DnsHandler, type DnsReply, type DnsService, DnsSockets, waitFor } from "../../src/host/DnsSockets.ts"

export interface SimulatedDnsSockets {
  /** A question to what is served just now; `null` where nothing is. */
  readonly ask: (...query: Parameters<DnsHandler>) => Effect.Effect<DnsReply>
  readonly layer: Layer.Layer<DnsSockets>
}

export const make = (): SimulatedDnsSockets => {
  const services: Array<DnsService> = []
  return {
    ask: (query, source, transport) =>
      Effect.suspend(() => waitFor(services.at(-1)?.handler(query, source, transport) ?? null)),
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
