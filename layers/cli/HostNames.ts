import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { HostNames } from "../../src/cli/HostNames.ts"
import { endpointAddresses } from "../host/endpointAddresses.ts"

/** A command of an operator does not wait longer for DNS. */
const patience = "3 seconds"

export const layer: Layer.Layer<HostNames> = Layer.succeed(HostNames, {
  lookup: (host) =>
    endpointAddresses({ host, port: 0, zone: null }).pipe(
      Effect.map((found) => found.map(({ address }) => address)),
      Effect.timeout(patience),
      Effect.orElseSucceed(() => [])
    )
})
