/**
 * The host of `sallyport connect --portal`: tunnel addresses, the DNS server's addresses, MTU and routes of the TUN device.
 * They vanish with the device.
 */
import * as Effect from "effect/Effect"
import { ipBatch } from "../host/ipBatch.ts"

/** Where this host asks for the names of resources. */
export const sentinels = ["100.100.111.1", "fd00:2021:1111:8000:100:100:111:1"] as const
const mtu = 1_280

export interface PortalClientAddresses {
  readonly tunnel4: string
  readonly tunnel6: string
  /** Routed into the tunnel. */
  readonly networks: ReadonlyArray<string>
}

/** From the state of `before` (`null`: a bare device) to that of `now`. */
export const configurePortalClient = Effect.fn("PortalClientNetwork.configure")(function* (
  device: string,
  before: PortalClientAddresses | null,
  now: PortalClientAddresses
) {
  const moved = before === null || before.tunnel4 !== now.tunnel4 || before.tunnel6 !== now.tunnel6
  const gone = before?.networks.filter((network) => !now.networks.includes(network)) ?? []
  const lines = [
    ...(moved
      ? [
          `addr flush dev ${device} scope global`,
          ...[now.tunnel4, ...sentinels.slice(0, 1)].map((address) => `addr add ${address}/32 dev ${device}`),
          ...[now.tunnel6, ...sentinels.slice(1)].map((address) => `addr add ${address}/128 dev ${device} nodad`),
          `link set dev ${device} mtu ${mtu} up`
        ]
      : []),
    ...gone.map((network) => `route del ${network} dev ${device}`),
    ...now.networks
      .filter((network) => moved || !before.networks.includes(network))
      .map(
        (network) => `route replace ${network} dev ${device} src ${network.includes(":") ? now.tunnel6 : now.tunnel4}`
      )
  ]
  yield* ipBatch("the tunnel's addresses and routes", lines)
})
