/** Names, addresses and secrets of the portal mode in the wide-area lab. */
import { labAddresses } from "./Lab.ts"

const { wide } = labAddresses
/** Of the portal. */
export const listen = { host: wide.portal.v4, port: 8081 }

/** What gateways and clients take as FIREZONE_API_URL. */
export const portalUrl = `ws://${listen.host}:${listen.port}`
export const tokens = { gateway: "gateway-secret", client: "client-secret" }
export const deviceNames = { gateway: "gateway", client: "client" }

/** `one` is at `wide.relay`, `two` at `wide.otherRelay`. */
export type RelayName = "one" | "two"
export const relayHosts = { one: wide.relay, two: wide.otherRelay } as const
export const relayUser = { username: "sallyport", password: "lab-secret" }

/** Entries of the portal's file, and of its command, for these relays. */
export const relayEntries = (names: ReadonlyArray<RelayName>) =>
  Object.fromEntries(
    names.map((name) => [
      name,
      { addresses: [`${relayHosts[name].v4}:3478`, `[${relayHosts[name].v6}]:3478`], ...relayUser }
    ])
  )
