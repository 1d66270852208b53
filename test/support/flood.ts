/** Handshake floods from the lab's client host against the gateway. */
import { Effect, Schema } from "effect"
import { fileURLToPath } from "node:url"
import { Lab, labAddresses } from "../../src/lab/demo/Lab.ts"
import { gatewayPort } from "../../src/lab/demo/tunnel.ts"

const Report = Schema.fromJsonString(Schema.Struct({ sent: Schema.Finite, replies: Schema.Finite }))

/** Network that belongs to the client host as a whole, so that any address in it can be a source. */
const sourceNetwork = "198.18.0.0/16"

/** Sends junk initiations for `seconds` and yields how many went out and how many datagrams came back. */
export const flood = Effect.fnUntraced(function* (options: {
  readonly sources: number
  readonly perSecond: number
  readonly seconds: number
  /** Makes the first MAC right. */
  readonly publicKey?: string
}) {
  const lab = yield* Lab
  yield* lab.exec("client", ["ip", "route", "replace", "local", sourceNetwork, "dev", "lo"])
  yield* lab.exec("gateway", ["ip", "route", "replace", sourceNetwork, "via", labAddresses.outer.client.v4])
  const output = yield* lab.exec(
    "client",
    [
      process.execPath,
      fileURLToPath(new URL("./floodMain.ts", import.meta.url)),
      labAddresses.outer.gateway.v4,
      String(gatewayPort),
      "198.18.0.1",
      ...[options.sources, options.perSecond, options.seconds].map(String),
      ...(options.publicKey === undefined ? [] : [options.publicKey])
    ],
    { timeout: (options.seconds + 20) * 1000 }
  )
  return yield* Schema.decodeEffect(Report)(output)
})
