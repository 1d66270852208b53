/** The client's host for `sallyport connect`: addresses, MTU and routes of the TUN device. They vanish with the device. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { WireguardConf } from "../src/config/wireguardConf.ts"
import { type CommandFailed, runCommand } from "./hostCommand.ts"

/** One line: what failed, why, and the fix. */
export class ClientNetworkError extends Schema.TaggedError<ClientNetworkError>()("ClientNetworkError", {
  message: Schema.String
}) {}

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
  yield* runCommand("ip", ["-batch", "-"], { input: `${lines.join("\n")}\n` }).pipe(Effect.mapError(explain))
})

const explain = (error: CommandFailed): ClientNetworkError =>
  new ClientNetworkError({
    message:
      error.kind === "missing"
        ? "the program ip is missing: apt-get install iproute2"
        : `the tunnel's addresses and routes could not be set: ip ${error.kind === "timeout" ? "took too long" : `says "${error.output}"`}`
  })
