/** Networks that lead into the tunnel, and have an address by which it is reached from outside. Pure. */
import type { GatewayConfig } from "../config/GatewayConfig.ts"
import { isInside } from "../config/loopFree.ts"
import type { Ranges } from "../model/defaultRanges.ts"

/** What it is, in words, and the network. */
export type RoutedNetwork = readonly [what: string, network: string]

interface Routed extends Pick<GatewayConfig, "resources"> {
  readonly network: Ranges
}

/** Those that a client may route into the tunnel. */
export const routedNetworks = ({
  network: { proxy4, proxy6, tunnel4, tunnel6 },
  resources
}: Routed): ReadonlyArray<RoutedNetwork> => [
  ...[tunnel4, tunnel6, proxy4, proxy6].map((range) => ["the network", range] as const),
  ...resources.flatMap((r) => (r.kind === "cidr" ? [[`the resource ${r.id}`, r.network] as const] : []))
]

/**
 * A line for each network that has one of the addresses. A stock client that routes the gateway's own into the tunnel sends
 * the tunnel into itself; a portal is dialled by the gateway.
 */
export const endpointInside = (
  kind: "file" | "portal",
  addresses: ReadonlyArray<string>,
  networks: ReadonlyArray<RoutedNetwork>
): ReadonlyArray<string> =>
  addresses.flatMap((address) =>
    networks
      .filter(([, network]) => isInside(address, network))
      .map(([what, network]) =>
        kind === "file"
          ? `the endpoint ${address} is inside ${what} (${network}): the files of client-config leave it out of AllowedIPs, or the tunnel would loop; do so in files written by hand`
          : `the portal ${address} is inside ${what} (${network}): the gateway may look for it in its own tunnel; give the portal another address`
      )
  )
