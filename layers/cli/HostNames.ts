import { lookup } from "node:dns/promises"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { HostNames } from "../../src/cli/HostNames.ts"
import { formatAddress, parseAddress } from "../../src/packet/address.ts"

/** A command of an operator does not wait longer for DNS. */
const patience = "3 seconds"

export const layer: Layer.Layer<HostNames> = Layer.succeed(HostNames, {
  lookup: (host) =>
    parseAddress(host) !== undefined
      ? Effect.succeed([host])
      : Effect.tryPromise(() => lookup(host, { all: true })).pipe(
          Effect.map((found) => found.flatMap(({ address }) => canonical(address))),
          Effect.timeout(patience),
          Effect.orElseSucceed(() => [])
        )
})

const canonical = (text: string): Array<string> => {
  const words = parseAddress(text)
  return words === undefined ? [] : [formatAddress(words)]
}
