import { type ConfiguredClient, type GatewayConfig, grantsOf } from "./GatewayConfig.ts"

/**
 * A wg-quick file for a stock WireGuard client. The private key never leaves the client, so the file says where to put
 * it. The tunnel and proxy ranges are routed into the tunnel, and what the client's CIDR resources name.
 */
export const clientConf = (config: GatewayConfig, client: ConfiguredClient, gatewayPublicKey: string): string => {
  const host = config.endpoint.host.includes(":") ? `[${config.endpoint.host}]` : config.endpoint.host
  const lines = [
    `# ${client.id} at ${host}`,
    "[Interface]",
    `PrivateKey = <the private key that belongs to ${client.publicKey}>`,
    `Address = ${client.tunnel4}/32, ${client.tunnel6}/128`,
    `DNS = ${config.gateway4}, ${config.gateway6}`,
    `MTU = ${config.network.mtu}`,
    "",
    "[Peer]",
    `PublicKey = ${gatewayPublicKey}`,
    ...(client.presharedKey === null ? [] : [`PresharedKey = ${client.presharedKey}`]),
    `AllowedIPs = ${allowedIps(config, client).join(", ")}`,
    `Endpoint = ${host}:${config.endpoint.port}`,
    "PersistentKeepalive = 25"
  ]
  return `${lines.join("\n")}\n`
}

const allowedIps = (config: GatewayConfig, client: ConfiguredClient): ReadonlyArray<string> => {
  const resources = grantsOf(config, client.id).map((grant) => grant.resource)
  if (resources.some((resource) => resource.kind === "internet")) return ["0.0.0.0/0", "::/0"]
  const { tunnel4, tunnel6, proxy4, proxy6 } = config.network
  const networks = resources.flatMap((resource) => (resource.kind === "cidr" ? [resource.network] : []))
  return [...new Set([tunnel4, proxy4, tunnel6, proxy6, ...networks])]
}
