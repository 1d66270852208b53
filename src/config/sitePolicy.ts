/** What the gateways of a site have in common, and what each of them has of its own. Pure. */
import * as Result from "effect/Result"
import type { GatewayConfig } from "./GatewayConfig.ts"
import { parseConfig, type Replaced } from "./parseConfig.ts"
import type { ConfigError } from "./problem.ts"
import type { makeYamlReader } from "./yamlReader.ts"

/** Whose each part is: what follows from a policy is the same at all gateways, the rest is of a host and its network. */
const owners = {
  resolvers: "site",
  clients: "site",
  resources: "site",
  grants: "site",
  zones: "site",
  search: "site",
  records: "site",
  block: "site",
  tests: "site",
  otherNames: "site",
  places: "site",
  warnings: "site",
  /** What they are is said by the gateway's file, and what they serve by the policy. */
  sites: "site",
  endpoint: "gateway",
  listenPort: "gateway",
  network: "gateway",
  gateway4: "gateway",
  gateway6: "gateway",
  firewall: "gateway",
  masquerade: "gateway",
  keepPorts: "gateway",
  fwmark: "gateway",
  trackUdp: "gateway",
  stateDir: "gateway",
  state: "gateway",
  advertise: "gateway",
  controlSocket: "gateway",
  device: "gateway",
  logLevel: "gateway",
  logDns: "gateway",
  logFormat: "gateway",
  reload: "gateway",
  listenHttp: "gateway",
  metricsPerClient: "gateway"
} as const satisfies Readonly<Record<keyof GatewayConfig, "site" | "gateway">>
/** The parts that are each gateway's own. */
const ownParts: ReadonlySet<string> = new Set(
  Object.entries(owners).flatMap(([part, owner]) => (owner === "gateway" ? [part] : []))
)

/**
 * The configuration of a gateway of which the policy in `text` is to count, a `sallyport.yaml` as somebody has applied it;
 * checked against the gateway's own network and endpoint. `name` is for messages only.
 */
export const withPolicy = (
  own: GatewayConfig,
  text: string,
  name: string,
  read?: ReturnType<typeof makeYamlReader>
): Result.Result<GatewayConfig, ConfigError> => {
  const { mtu, proxy4, proxy6, tunnel4, tunnel6 } = own.network
  const network = { tunnel_ipv4: tunnel4, tunnel_ipv6: tunnel6, proxy_ipv4: proxy4, proxy_ipv6: proxy6, mtu }
  const state = own.state === null ? {} : { state: own.state }
  const replaced = { endpoint: own.endpoint, network, ...state, ofSites: ofSites(own) }
  return Result.map(parseConfig(text, name, read, replaced), (policy) => ({
    ...policy,
    ...Object.fromEntries(Object.entries(own).filter(([part]) => ownParts.has(part)))
  }))
}

/** As a file says it. */
const ofSites = ({ sites }: GatewayConfig): NonNullable<Replaced["ofSites"]> => {
  if (sites === null) return {}
  const entries = sites.all.map(({ endpoint, name, number, publicKey }) => [
    name,
    { number, endpoint, public_key: publicKey }
  ])
  return { site: sites.own.name, sites: Object.fromEntries(entries) }
}
