/** Where addresses may lead, told to the services that meet them first: accepted proxy IPs and answers of DNS. */
import * as Layer from "effect/Layer"
import { ProxyRanges } from "../../src/access/ProxyRanges.ts"
import { proxyMembership, type Ranges } from "../../src/model/ranges.ts"
import { DestinationPolicy, optInBits } from "../../src/nat/destinationPolicy.ts"
import { type Network, parseAddress, parseNetwork } from "../../src/packet/address.ts"
import { AnswerPolicy } from "../../src/resolution/AnswerPolicy.ts"

export const makePolicy = ({ proxy4, proxy6, tunnel4, tunnel6 }: Ranges): DestinationPolicy => {
  const policy = new DestinationPolicy()
  policy.setRanges(networks(tunnel4, tunnel6), networks(proxy4, proxy6))
  return policy
}

/** `policy` is asked at every answer: the host's own addresses may change. */
export const destinationRules = (
  policy: DestinationPolicy,
  { proxy4, proxy6 }: Ranges
): Layer.Layer<AnswerPolicy | ProxyRanges> =>
  Layer.mergeAll(
    Layer.succeed(ProxyRanges, proxyMembership([proxy4, proxy6])),
    Layer.succeed(AnswerPolicy, (addresses, allow) => {
      const bits = optInBits(allow)
      return addresses.filter((text) => {
        const address = parseAddress(text)
        return address === undefined || policy.judge(address, bits) !== undefined
      })
    })
  )

const networks = (...texts: ReadonlyArray<string>): ReadonlyArray<Network> =>
  texts.flatMap((text) => parseNetwork(text) ?? [])
