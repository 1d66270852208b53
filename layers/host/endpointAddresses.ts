/** Where the endpoint of a client's file is: an address as it stands, or what its name resolves to just now. */
import { lookup } from "node:dns/promises"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { PeerEndpoint } from "../../src/config/wireguardConf.ts"
import type { SocketAddress } from "../../src/model/SocketAddress.ts"
import { formatAddress, parseAddress } from "../../src/packet/address.ts"
import { readText } from "./readText.ts"

export class EndpointError extends Schema.TaggedError<EndpointError>()("EndpointError", { message: Schema.String }) {}

export const isName = ({ host }: PeerEndpoint): boolean => parseAddress(host) === undefined

/** The best address first, as the system sorts them; at least one. */
export const endpointAddresses = Effect.fnUntraced(function* ({
  host,
  port,
  zone
}: PeerEndpoint): Effect.fn.Return<ReadonlyArray<SocketAddress>, EndpointError> {
  const literal = parseAddress(host)
  if (literal !== undefined) {
    const interfaceIndex = zone === null ? 0 : interfaceNumber(zone)
    if (interfaceIndex === null) {
      return yield* new EndpointError({
        message: `this host has no interface ${zone}, which Endpoint names: take one that "ip link" shows`
      })
    }
    return [{ address: formatAddress(literal), port, ...(zone === null ? {} : { interfaceIndex }) }]
  }
  const found = yield* Effect.tryPromise({
    try: () => lookup(host, { all: true }),
    catch: (cause) =>
      new EndpointError({
        message: `the endpoint ${host} does not resolve (${cause instanceof Error && "code" in cause ? String(cause.code) : String(cause)})`
      })
  })
  return found.flatMap(({ address }) => {
    const words = parseAddress(address)
    return words === undefined ? [] : [{ address: formatAddress(words), port }]
  })
})

/** Of the device; `null`: there is none of that name. */
const interfaceNumber = (zone: string): number | null => {
  if (/^[0-9]+$/.test(zone)) return Number(zone)
  const index = readText(`/sys/class/net/${zone}/ifindex`)
  return index === undefined ? null : Number(index)
}
