import * as Result from "effect/Result"
import type { Client } from "../model/Client.ts"
import type { Grant } from "../model/Grant.ts"
import type { ResolverSet } from "../model/ResolverSet.ts"
import type { ConfigFile } from "./fileSchema.ts"
import { defaultControlSocket, defaultStateDir } from "./defaultPaths.ts"
import * as GatewayConfig from "./GatewayConfig.ts"
import { checkAgainstItself } from "./checkAgainstItself.ts"
import { formatProblems, type Problem } from "./problem.ts"
import { checkRanges, overlaps, rangesOf } from "./ranges.ts"
import { gatewayAddress } from "./assignAddresses.ts"
import { checkName, type Report } from "./report.ts"
import { admits } from "./allowList.ts"
import { resolveLists, resolveRecords, resolveZones } from "./resolveNames.ts"
import { resolveClients } from "./resolveClients.ts"
import { resolveResources } from "./resolveResources.ts"
import { checkSplit, resolveSites, siteOfResource } from "./resolveSites.ts"
import { resolveTests } from "./resolveTests.ts"
import type { YamlSource } from "./yamlSource.ts"

/** More would not fit a data plane's memory; a file this large is a mistake. */
const maxPairs = 1_000_000

/** What the file's parts mean together: references, ranges, addresses, grants, defaults. `name` is for messages only. */
export const resolveConfig = (
  file: ConfigFile,
  source: YamlSource,
  name: string
): Result.Result<GatewayConfig.GatewayConfig, ReadonlyArray<Problem>> => {
  const problems: Array<Problem> = []
  const report: Report = (path, cause, fix, key) => {
    if (problems.length < 200) problems.push({ ...source.locate(path, key), cause, fix })
  }

  const defaults = GatewayConfig.defaultNetwork
  const network: GatewayConfig.NetworkConfig = {
    tunnel4: file.network?.tunnel_ipv4 ?? defaults.tunnel4,
    tunnel6: file.network?.tunnel_ipv6 ?? defaults.tunnel6,
    proxy4: file.network?.proxy_ipv4 ?? defaults.proxy4,
    proxy6: file.network?.proxy_ipv6 ?? defaults.proxy6,
    mtu: file.network?.mtu ?? defaults.mtu
  }
  checkRanges(network, report)
  const rangesGood = problems.length === 0
  const sites = resolveSites(file, rangesGood ? network : null, report)

  const resolvers = new Map<string, ResolverSet>()
  for (const [name, entry] of Object.entries(file.resolvers ?? {})) {
    const { order = "fallback", servers } = "servers" in entry ? entry : { servers: entry }
    checkName(name, ["resolvers", name], report)
    if (name === "system") {
      report(["resolvers", name], "system always means the host's own resolver", "use another name for this set", true)
    }
    if (servers.length === 0 || servers.length > 8) {
      report(["resolvers", name], `resolver ${name} has ${servers.length} servers`, "list 1 to 8 of them", true)
    }
    for (const [i, { address }] of servers.entries()) {
      const range = rangesOf(network).find(({ network }) => overlaps(network, address))
      if (!rangesGood || range === undefined) continue
      const path = ["resolvers", name, ...("servers" in entry ? ["servers"] : []), i]
      report(path, `${address} lies in ${range.key} ${range.network}`, "name the server's address outside the tunnel")
    }
    resolvers.set(name, { servers, order })
  }

  const clients = resolveClients(file, network, rangesGood, report)
  const resources = resolveResources(file, { clients, resolvers, network: rangesGood ? network : null }, report)

  const zones = resolveZones(file, { clients, resolvers }, report)
  const records = resolveRecords(file, report)
  const { block, search } = resolveLists(file, report)

  const tests = resolveTests(file, { clients, network: rangesGood ? network : null }, report, (path) => {
    const { column, line } = source.locate(path)
    return `${name}:${line}:${column}`
  })

  const grants: Array<Grant> = []
  const elsewhere: Array<GatewayConfig.Sites["elsewhere"][number]> = []
  let pairs = 0
  const admitted = new Map<string, ReadonlyArray<Client>>()
  for (const { resource, allow, expiresAt } of resources) {
    // Many resources have the same list.
    const list = JSON.stringify([...allow])
    const allowed = admitted.get(list) ?? clients.filter((client) => admits(allow, client))
    admitted.set(list, allowed)
    const site = siteOfResource(file, resource.id, sites, report)
    if (site !== null) elsewhere.push({ resource, expiresAt, clients: allowed, site })
    else if (allowed.length > 0) grants.push({ resource, expiresAt, clients: allowed })
    pairs += allowed.length
    if (pairs > maxPairs) {
      report(
        ["resources"],
        `the allow lists make more than ${maxPairs} pairs of client and resource`,
        "split the gateway",
        true
      )
      break
    }
  }

  if (sites !== null) checkSplit([...grants.map((grant) => ({ ...grant, site: sites.own })), ...elsewhere], report)
  const areElsewhere = new Set(elsewhere.map(({ resource }) => resource))

  if (file.advertise !== undefined && file.state === undefined) {
    report(["advertise"], "there are no other gateways", "add state: with the site's PostgreSQL, or remove advertise")
  }

  const warnings: Array<Problem> = []
  if (problems.length === 0) {
    const warn: Report = (path, cause, fix, key) => {
      if (warnings.length < 200) warnings.push({ ...source.locate(path, key), cause, fix })
    }
    checkAgainstItself({ file, network, resources, zones, records, search, resolvers }, report, warn)
  }
  if (problems.length > 0) return Result.fail(problems)
  return Result.succeed({
    endpoint: file.endpoint,
    listenPort: file.listen ?? GatewayConfig.defaultListenPort,
    resolvers,
    clients,
    resources: resources.flatMap(({ resource }) => (areElsewhere.has(resource) ? [] : [resource])),
    grants,
    zones: zones.map(({ value }) => value),
    search,
    records: new Map(records.map(({ name, value }) => [name, value])),
    block,
    tests,
    network,
    gateway4: gatewayAddress(network.tunnel4, sites?.own.number),
    gateway6: gatewayAddress(network.tunnel6, sites?.own.number),
    sites: sites === null ? null : { ...sites, elsewhere },
    firewall: file.firewall ?? "nftables",
    masquerade: file.masquerade ?? true,
    keepPorts: file.keep_ports ?? false,
    trackUdp: file.track_udp ?? true,
    fwmark: file.fwmark ?? null,
    state: file.state ?? null,
    advertise: file.advertise ?? null,
    stateDir: file.state_dir ?? defaultStateDir,
    controlSocket: file.control_socket ?? defaultControlSocket,
    device: file.device ?? GatewayConfig.defaultDevice,
    otherNames: file.other_names ?? "forward",
    listenHttp: file.listen_http === undefined ? GatewayConfig.defaultListenHttp : file.listen_http,
    metricsPerClient: file.metrics_per_client ?? false,
    logLevel: file.log_level ?? "Info",
    logDns: file.log_dns ?? false,
    reload: file.reload ?? "on_command",
    logFormat: file.log_format ?? "human",
    places: { file: name, clients: source.linesIn("clients"), resources: source.linesIn("resources") },
    warnings: formatProblems(name, warnings)
  })
}
