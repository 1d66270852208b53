/**
 * The host of `sallyport connect --portal`: tunnel addresses, the DNS server's addresses, MTU and routes of the TUN device.
 * They vanish with the device.
 */
import * as Effect from "effect/Effect"
import { familyOf } from "../../src/host/clientPlan.ts"
import { foreignRoute } from "../host/ClientNetwork.ts"
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

/**
 * From the state of `before` (`null`: a bare device) to that of `now`. What `v6` says is not there is left out, and a network
 * that somebody else has a route to is left to that route.
 */
export const configurePortalClient = Effect.fn("PortalClientNetwork.configure")(function* (
  device: string,
  before: PortalClientAddresses | null,
  now: PortalClientAddresses,
  v6: boolean
) {
  const carried = (address: string): boolean => v6 || familyOf(address) === 4
  const moved = before === null || before.tunnel4 !== now.tunnel4 || before.tunnel6 !== now.tunnel6
  const gone = before?.networks.filter((network) => !now.networks.includes(network)) ?? []
  const fresh: Array<string> = []
  for (const network of now.networks.filter(carried)) {
    if (!moved && before.networks.includes(network)) continue
    const foreign = yield* foreignRoute({ network, table: null }, device)
    if (foreign === null) fresh.push(network)
    else
      yield* Effect.logWarning(`${network} stays out of the tunnel: this host has a route to it already (${foreign})`)
  }
  const lines = [
    ...(moved
      ? [
          `addr flush dev ${device} scope global`,
          ...[now.tunnel4, ...sentinels.slice(0, 1)].map((address) => `addr add ${address}/32 dev ${device}`),
          ...[now.tunnel6, ...sentinels.slice(1)]
            .filter(carried)
            .map((address) => `addr add ${address}/128 dev ${device} nodad`),
          `link set dev ${device} mtu ${mtu} up`
        ]
      : []),
    ...fresh.map(
      (network) => `route replace ${network} dev ${device} src ${familyOf(network) === 6 ? now.tunnel6 : now.tunnel4}`
    )
  ]
  yield* ipBatch("the tunnel's addresses and routes", lines)
  // One that was left to somebody else has none.
  const past = gone.map((network) => `route del ${network} dev ${device}`)
  yield* Effect.ignore(ipBatch("the tunnel's routes", past, ["-force"]))
})
