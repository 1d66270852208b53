import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { type ForeignNetwork, ForeignNetworks } from "../../src/host/ForeignNetworks.ts"

/** Lines for the log at a time; further ones are counted. */
const maxNamed = 5

export const layer: Layer.Layer<ForeignNetworks> = Layer.sync(ForeignNetworks, () => {
  let current: ReadonlyArray<ForeignNetwork> = []
  return ForeignNetworks.of({
    list: () => current,
    found: Effect.fnUntraced(function* (networks) {
      const has = (all: ReadonlyArray<ForeignNetwork>, one: ForeignNetwork) =>
        all.some(({ network }) => network === one.network)
      const fresh = networks.filter((one) => !has(current, one))
      const gone = current.filter((one) => !has(networks, one))
      current = networks
      for (const { network, who } of fresh.slice(0, maxNamed)) {
        yield* Effect.logWarning(
          `${network} of the gateway's ranges is in use by ${who}: it is left to the host, and a client with a tunnel address in it gets no replies`
        )
      }
      if (fresh.length > maxNamed) yield* Effect.logWarning(`so are ${fresh.length - maxNamed} more networks`)
      for (const { network } of gone.slice(0, maxNamed)) {
        yield* Effect.logInfo(`${network} is the gateway's own again`)
      }
      return fresh.length + gone.length > 0
    })
  })
})
