import * as Result from "effect/Result"
import { networksOfSlots, proxyNetworks, slotCapacity } from "../control/standalone/proxyPool.ts"
import type { Right } from "../model/Authorization.ts"
import { maxSites, slotZones } from "../shared/slotZones.ts"
import { type ConfiguredClient, type GatewayConfig, type HostPort, rightsElsewhere, rightsIn } from "./GatewayConfig.ts"
import { withoutEndpoint } from "./loopFree.ts"
import { splitDomains } from "./splitDns.ts"

/**
 * What the client asks the gateway for: all names; those behind it, by systemd-resolved, which wg-quick has to tell; none,
 * as somebody else sees to that.
 */
type ClientDns = "all" | "split" | "none"

export interface ClientConfOptions {
  readonly gatewayPublicKey: string
  /** Addresses of the endpoint now, and of those of other sites; empty: its name does not resolve. */
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
 * gateway's own endpoint. Of several sites each is a peer, the gateway's own one first, which is asked for names first.
 */
export const clientConf = (config: GatewayConfig, client: ConfiguredClient, options: ClientConfOptions): string => {
  const of = (texts: ReadonlyArray<string>) =>
    texts.filter((text) => !options.ipv4Only || !text.includes(":")).join(", ")
  const peers = peersOf(config, client, options.gatewayPublicKey)
  const servers = peers.flatMap(({ servers }) => servers)
  const isCut = peers.some(({ networks }) => withoutEndpoint(networks, options.endpoint).length !== networks.length)
  const lines = [
    `# ${client.id} at ${peers.map(({ endpoint }) => hostOf(endpoint)).join(", ")}`,
    ...(isCut ? [`# AllowedIPs is all but the gateway itself: ${of(options.endpoint)}`] : []),
    ...(options.ipv4Only ? [] : [`# wg-quick on a host without IPv6: sallyport client-config ${client.id} --ipv4`]),
    "[Interface]",
    `PrivateKey = ${options.privateKey ?? `<the private key that belongs to ${client.publicKey}>`}`,
    `Address = ${of([`${client.tunnel4}/32`, `${client.tunnel6}/128`])}`,
    // Entries that are no addresses are search domains (wg-quick(8)).
    ...(options.dns === "all" ? [`DNS = ${of([...servers, ...config.search])}`] : []),
    ...(options.dns === "none" ? [`# Names behind the gateway are asked of ${of(servers)}`] : []),
    `MTU = ${config.network.mtu}`,
    ...(options.dns === "split" ? tellResolved(config, client, of(servers)) : []),
    ...peers.flatMap(({ endpoint, name, networks, publicKey }) => [
      "",
      ...(name === null ? [] : [`# site ${name}`]),
      "[Peer]",
      `PublicKey = ${publicKey}`,
      ...(client.presharedKey === null ? [] : [`PresharedKey = ${client.presharedKey}`]),
      `AllowedIPs = ${of(withoutEndpoint(networks, options.endpoint))}`,
      `Endpoint = ${hostOf(endpoint)}:${endpoint.port}`,
      "PersistentKeepalive = 25"
    ])
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

interface Peer {
  /** Of the site; `null`: there is only one. */
  readonly name: string | null
  readonly endpoint: HostPort
  readonly publicKey: string
  /** DNS servers in the tunnel. */
  readonly servers: ReadonlyArray<string>
  /** What is routed to it, its endpoint included. */
  readonly networks: ReadonlyArray<string>
}

const hostOf = ({ host }: HostPort): string => (host.includes(":") ? `[${host}]` : host)

const peersOf = (config: GatewayConfig, client: ConfiguredClient, publicKey: string): ReadonlyArray<Peer> => {
  const { endpoint, gateway4, gateway6, network, sites } = config
  const { tunnel4, tunnel6, proxy4, proxy6 } = network
  const rights = rightsIn(config, client.id)
  if (sites === null) {
    const networks = networksOf(rights, [tunnel4, proxy4, tunnel6, proxy6])
    return [{ name: null, endpoint, publicKey, servers: [gateway4, gateway6], networks }]
  }
  const ranges = proxyNetworks(network)
  const { slice } = Result.getOrThrow(slotZones(slotCapacity(ranges), maxSites))
  return sites.all.map((site) => {
    const servers = [site.gateway4, site.gateway6]
    const spans = slice(site.number).flatMap(({ from, to }) => networksOfSlots(from, to, ranges))
    const own = [`${site.gateway4}/32`, `${site.gateway6}/128`, ...spans]
    const theirs = site === sites.own ? rights : rightsElsewhere(config, client.id, site)
    return { ...site, servers, networks: networksOf(theirs, own) }
  })
}

/** What a peer's resources name, and its `own`. */
const networksOf = (rights: ReadonlyArray<Right>, own: ReadonlyArray<string>): ReadonlyArray<string> => {
  const resources = rights.map(({ resource }) => resource)
  if (resources.some(({ kind }) => kind === "internet")) return ["0.0.0.0/0", "::/0"]
  return [...new Set([...own, ...resources.flatMap((each) => (each.kind === "cidr" ? [each.network] : []))])]
}
