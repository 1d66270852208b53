/** Where addresses may lead, told to the services that meet them first: accepted proxy IPs and answers of DNS. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Destinations } from "../../src/access/Destinations.ts"
import { ProxyRanges } from "../../src/access/ProxyRanges.ts"
import type { Ranges } from "../../src/model/defaultRanges.ts"
import { proxyMembership } from "../../src/model/ranges.ts"
import { DestinationPolicy, optInBits } from "../../src/nat/destinationPolicy.ts"
import { type Network, parseAddress, parseNetwork } from "../../src/packet/address.ts"
import { AnswerPolicy } from "../../src/resolution/AnswerPolicy.ts"

/** Knows no own addresses of the host until it is told. */
export const destinations = ({ proxy4, proxy6, tunnel4, tunnel6 }: Ranges): Layer.Layer<Destinations> =>
  Layer.sync(Destinations, () => {
    const policy = new DestinationPolicy()
    policy.setRanges(networks(tunnel4, tunnel6), networks(proxy4, proxy6))
    return policy
  })

export const proxyRanges = ({ proxy4, proxy6 }: Ranges): Layer.Layer<ProxyRanges> =>
  Layer.succeed(ProxyRanges, proxyMembership([proxy4, proxy6]))

/** Judges each answer anew: the host's own addresses may change. */
export const answerPolicy: Layer.Layer<AnswerPolicy, never, Destinations> = Layer.effect(
  AnswerPolicy,
  Effect.map(Destinations, (policy) => (addresses, allow) => {
    const bits = optInBits(allow)
    return addresses.filter((text) => {
      const address = parseAddress(text)
      return address === undefined || policy.judge(address, bits) !== undefined
    })
  })
)

const networks = (...texts: ReadonlyArray<string>): ReadonlyArray<Network> =>
  texts.flatMap((text) => parseNetwork(text) ?? [])
