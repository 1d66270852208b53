import { type ConfiguredClient, type GatewayConfig, rightsIn } from "./GatewayConfig.ts"
import { withoutEndpoint } from "./loopFree.ts"
import { splitDomains } from "./splitDns.ts"

/**
 * What the client asks the gateway for: all names; those behind it, by systemd-resolved, which wg-quick has to tell; none,
 * as somebody else sees to that.
 */
type ClientDns = "all" | "split" | "none"

export interface ClientConfOptions {
  readonly gatewayPublicKey: string
  /** Addresses of the endpoint now; empty: its name does not resolve. */
  readonly endpoint: ReadonlyArray<string>
  /** Leave IPv6 out, for a host that has none: wg-quick does not take such a file there. */
  readonly ipv4Only: boolean
  readonly dns: ClientDns
  /** Where the gateway's operator made it; left out, the file says where to put it. */
  readonly privateKey?: string
}

/**
 * A wg-quick file for a stock WireGuard client. The private key never leaves the client, so the file says where to put
 * it. The tunnel and proxy ranges are routed into the tunnel, and what the client's CIDR resources name, but never the
 * gateway's own endpoint.
 */
export const clientConf = (config: GatewayConfig, client: ConfiguredClient, options: ClientConfOptions): string => {
  const host = config.endpoint.host.includes(":") ? `[${config.endpoint.host}]` : config.endpoint.host
  const of = (texts: ReadonlyArray<string>) =>
    texts.filter((text) => !options.ipv4Only || !text.includes(":")).join(", ")
  const servers = [config.gateway4, config.gateway6]
  const networks = allowedNetworks(config, client)
  const allowed = withoutEndpoint(networks, options.endpoint)
  const lines = [
    `# ${client.id} at ${host}`,
    ...(allowed.length === networks.length
      ? []
      : [`# AllowedIPs is all but the gateway itself: ${of(options.endpoint)}`]),
    ...(options.ipv4Only ? [] : [`# wg-quick on a host without IPv6: sallyport client-config ${client.id} --ipv4`]),
    "[Interface]",
    `PrivateKey = ${options.privateKey ?? `<the private key that belongs to ${client.publicKey}>`}`,
    `Address = ${of([`${client.tunnel4}/32`, `${client.tunnel6}/128`])}`,
    // Entries that are no addresses are search domains (wg-quick(8)).
    ...(options.dns === "all" ? [`DNS = ${of([...servers, ...config.search])}`] : []),
    ...(options.dns === "none" ? [`# Names behind the gateway are asked of ${of(servers)}`] : []),
    `MTU = ${config.network.mtu}`,
    ...(options.dns === "split" ? tellResolved(config, client, of(servers)) : []),
    "",
    "[Peer]",
    `PublicKey = ${options.gatewayPublicKey}`,
    ...(client.presharedKey === null ? [] : [`PresharedKey = ${client.presharedKey}`]),
    `AllowedIPs = ${of(allowed)}`,
    `Endpoint = ${host}:${config.endpoint.port}`,
    "PersistentKeepalive = 25"
  ]
  return `${lines.join("\n")}\n`
}

/** Lines for wg-quick on a host with systemd-resolved: names under these domains are asked of the gateway, no others. */
const tellResolved = (config: GatewayConfig, { id }: ConfiguredClient, servers: string): ReadonlyArray<string> => {
  const routed = splitDomains(config, id).map((domain) => (domain === "." ? "~." : `~${domain}`))
  const domains = [...config.search, ...routed]
  if (domains.length === 0) return ["# There is no name to ask the gateway for"]
  return [
    `PostUp = resolvectl dns %i ${servers.replaceAll(",", "")}`,
    `PostUp = resolvectl domain %i ${domains.map((domain) => `'${domain}'`).join(" ")}`,
    `PostUp = resolvectl default-route %i ${domains.includes("~.") ? "yes" : "no"}`,
    "PreDown = resolvectl revert %i"
  ]
}

/** What the client's file routes into the tunnel, the endpoint included. */
const allowedNetworks = (config: GatewayConfig, client: ConfiguredClient): ReadonlyArray<string> => {
  const resources = rightsIn(config, client.id).map((grant) => grant.resource)
  if (resources.some((resource) => resource.kind === "internet")) return ["0.0.0.0/0", "::/0"]
  const { tunnel4, tunnel6, proxy4, proxy6 } = config.network
  const networks = resources.flatMap((resource) => (resource.kind === "cidr" ? [resource.network] : []))
  return [...new Set([tunnel4, proxy4, tunnel6, proxy6, ...networks])]
}
