/** Clients that get no replies because the host uses the part of the range that their tunnel address is in. Pure. */
import { contains, parseAddress, parseNetwork } from "../packet/address.ts"
import type { ForeignNetwork } from "./ForeignNetworks.ts"

export interface StrandedClient {
  readonly client: string
  readonly address: string
  /** Canonical text. */
  readonly network: string
}

export const strandedClients = (
  foreign: ReadonlyArray<ForeignNetwork>,
  clients: ReadonlyArray<{ readonly id: string; readonly tunnel4: string; readonly tunnel6: string }>
): ReadonlyArray<StrandedClient> => {
  const networks = foreign.map(({ network }) => ({ network, parsed: parseNetwork(network)! }))
  if (networks.length === 0) return []
  return clients.flatMap(({ id, tunnel4, tunnel6 }) =>
    [tunnel4, tunnel6].flatMap((address) => {
      const words = parseAddress(address)
      const found = words === undefined ? undefined : networks.find(({ parsed }) => contains(parsed, words))
      return found === undefined ? [] : [{ client: id, address, network: found.network }]
    })
  )
}
