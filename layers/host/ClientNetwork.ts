/** The client's host for `sallyport connect`: addresses, MTU and routes of the TUN device. They vanish with the device. */
import * as Effect from "effect/Effect"
import type { WireguardConf } from "../../src/config/wireguardConf.ts"
import { ClientNetworkError, ipBatch } from "./ipBatch.ts"

const defaultMtu = 1280

/** Configures the device; refuses default routes, which would swallow the tunnel's own packets. */
export const configureClient = Effect.fn("ClientNetwork.configure")(function* (device: string, conf: WireguardConf) {
  const whole = conf.peer.allowedIps.find((network) => network.endsWith("/0"))
  if (whole !== undefined) {
    return yield* new ClientNetworkError({
      message: `AllowedIPs ${whole} would route everything into the tunnel, which connect does not do: list the networks to reach (sallyport client-config does)`
    })
  }
  const v6 = (address: string): boolean => address.includes(":")
  const lines = [
    ...conf.addresses.map(
      ({ address, prefix }) => `addr add ${address}/${prefix} dev ${device}${v6(address) ? " nodad" : ""}`
    ),
    `link set dev ${device} mtu ${conf.mtu ?? defaultMtu} up`,
    ...conf.peer.allowedIps.map((network) => `route replace ${network} dev ${device}`)
  ]
  yield* ipBatch("the tunnel's addresses and routes", lines)
})
