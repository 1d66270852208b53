import * as Dgram from "node:dgram"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { HostAddress } from "../../src/cli/HostAddress.ts"
import { formatAddress, parseAddress } from "../../src/packet/address.ts"

/** a.root-servers.net: somewhere on the Internet. Nothing is sent there. */
const far = { udp4: "198.41.0.4", udp6: "2001:503:ba3e::2:30" } as const

/** What the kernel takes for packets to there. */
const sourceTowards = (family: "udp4" | "udp6"): Effect.Effect<string | null> =>
  Effect.callback((resume) => {
    const socket = Dgram.createSocket(family)
    const end = (address: string) => {
      socket.close()
      const words = parseAddress(address)
      resume(Effect.succeed(words === undefined ? null : formatAddress(words)))
    }
    socket.once("error", () => end(""))
    socket.once("connect", () => end(socket.address().address))
    socket.connect(53, far[family])
  })

export const layer: Layer.Layer<HostAddress> = Layer.succeed(HostAddress, {
  wayOut: Effect.filterOrElse(
    sourceTowards("udp4"),
    (address) => address !== null,
    () => sourceTowards("udp6")
  )
})
