/**
 * Networks that a client may route into its tunnel. A stock client sends the tunnel's own packets where its routes lead:
 * with the endpoint among them they go into the tunnel again. Default routes are a client's own business, which wg-quick and
 * the apps handle.
 */
import { contains, formatNetwork, mask, type Network, parseAddress, parseNetwork } from "../packet/address.ts"

/** The networks without the endpoint's addresses, as few as possible; what does not contain one stays as it is. */
export const withoutEndpoint = (
  networks: ReadonlyArray<string>,
  endpoint: ReadonlyArray<string>
): ReadonlyArray<string> =>
  networks.flatMap((text) => {
    let rest: ReadonlyArray<string> = [text]
    for (const address of endpoint)
      rest = rest.flatMap((part) => (isInside(address, part) ? split(part, address) : part))
    return rest
  })

/** Whether the address is inside the network, which is not everything. */
export const isInside = (address: string, network: string): boolean => {
  const words = parseAddress(address)
  const parsed = parseNetwork(network)
  if (words === undefined || parsed === undefined || network.endsWith("/0")) return false
  return network.includes(":") === address.includes(":") && contains(parsed, words)
}

/** Halves the network until the address is alone, and yields the halves that it is not in. */
const split = (network: string, address: string): Array<string> => {
  const words = parseAddress(address)!
  const halves: Array<Network> = []
  for (let prefix = parseNetwork(network)!.prefix + 1; prefix <= 128; prefix++) {
    halves.push({ address: flip(mask(words, prefix), prefix), prefix })
  }
  return halves.map(formatNetwork)
}

/** The address with its bit number `prefix` (from 1) turned over. */
const flip = (address: Network["address"], prefix: number): Network["address"] => {
  const bit = 1 << (31 - ((prefix - 1) & 31))
  const { w0, w1, w2, w3 } = address
  if (prefix <= 32) return { w0: w0 ^ bit, w1, w2, w3 }
  if (prefix <= 64) return { w0, w1: w1 ^ bit, w2, w3 }
  return prefix <= 96 ? { w0, w1, w2: w2 ^ bit, w3 } : { w0, w1, w2, w3: w3 ^ bit }
}
