/** Two sites, and what gateways of each go by. */
import { gatewayAddress } from "../../src/config/assignAddresses.ts"
import { defaultNetwork, type GatewayConfig, type Site } from "../../src/config/GatewayConfig.ts"
import type { Resource } from "../../src/model/Resource.ts"
import { configOf } from "./standalone.ts"

export const [berlin, tokyo] = ["berlin", "tokyo"].map((name, number): Site => ({
  name,
  number,
  endpoint: { host: `${name}.example.com`, port: 51_820 },
  publicKey: "",
  gateway4: gatewayAddress(defaultNetwork.tunnel4, number),
  gateway6: gatewayAddress(defaultNetwork.tunnel6, number)
})) as [Site, Site]

export type Served = Readonly<Record<"berlin" | "tokyo", ReadonlyArray<Resource>>>

/** A gateway of one site, whose client may reach all of it. */
export const configAt = (own: Site, served: Served): GatewayConfig => {
  const other = own === berlin ? tokyo : berlin
  const config = configOf(served[own.name as keyof Served])
  const clients = config.clients.slice(0, 1)
  const theirs = served[other.name as keyof Served]
  const elsewhere = theirs.map((resource) => ({ resource, expiresAt: null, clients, site: other }))
  return { ...config, sites: { own, all: [own, other], elsewhere } }
}
