/** The sites of a file, and which of its resources each of them serves. */
import * as Result from "effect/Result"
import { proxyNetworks, slotCapacity } from "../control/standalone/proxyPool.ts"
import type { Client } from "../model/Client.ts"
import type { Grant } from "../model/Grant.ts"
import { parseNetwork } from "../packet/address.ts"
import { maxSites, slotZones } from "../shared/slotZones.ts"
import { gatewayAddress } from "./assignAddresses.ts"
import type { ConfigFile } from "./fileSchema.ts"
import type { NetworkConfig, Site, Sites } from "./GatewayConfig.ts"
import { quote } from "./problem.ts"
import { rangesOf } from "./ranges.ts"
import { checkName, type Report } from "./report.ts"
import { suggestFix } from "./suggest.ts"

/** How many addresses of the tunnel's ranges are gateways': as many as there may be sites. */
export const gatewaysOf = ({ sites }: ConfigFile): number => (sites === undefined ? 1 : maxSites)

/** Those of the file without what they serve; `null`: there is only one site. `network` is `null` when the ranges themselves are wrong. */
export const resolveSites = (
  file: ConfigFile,
  network: NetworkConfig | null,
  report: Report
): Omit<Sites, "elsewhere"> | null => {
  if (network !== null && file.state !== undefined) {
    const zones = slotZones(slotCapacity(proxyNetworks(network)), gatewaysOf(file))
    const key = file.sites === undefined ? "state" : "sites"
    if (Result.isFailure(zones)) report([key], zones.failure.cause, zones.failure.fix, key === "sites")
  }
  const entries = Object.entries(file.sites ?? {})
  const names = entries.map(([name]) => name)
  if (file.sites === undefined) {
    if (file.site !== undefined) report(["site"], "there are no sites", "list them (sites:), or remove site")
    return null
  }
  if (file.state === undefined) {
    report(["sites"], "several sites share one PostgreSQL", "say where it is (state: postgres://…)", true)
  }
  for (const { key, network: range } of network === null ? [] : rangesOf(network).slice(0, 2)) {
    // A prefix of IPv4 is counted in that of a mapped address.
    if (parseNetwork(range)!.prefix <= 124) continue
    const fix = `use a prefix of /${key === "tunnel_ipv4" ? 28 : 124} or shorter`
    report(["network", key], `${range} has no room for the gateways of ${maxSites} sites`, fix)
  }
  const seen = {
    number: new Map<unknown, string>(),
    endpoint: new Map<unknown, string>(),
    public_key: new Map<unknown, string>()
  }
  for (const [name, site] of entries) {
    checkName(name, ["sites", name], report)
    for (const key of ["number", "endpoint", "public_key"] as const) {
      const value = JSON.stringify(site[key])
      const twin = seen[key].get(value)
      if (twin !== undefined) report(["sites", name, key], `same ${key} as ${twin}`, "give every site its own")
      else seen[key].set(value, name)
    }
  }
  if (!seen.number.has("0")) {
    report(["sites"], "no site has number 0", "give it to the one that was there first: it keeps its addresses", true)
  }
  if (file.site === undefined) {
    report(
      ["sites"],
      "the file does not say which of them this gateway is of",
      `add site: to the file: ${names.join(" or ")}`,
      true
    )
    return null
  }
  const all = entries.map(([name, { endpoint, number, public_key: publicKey }]): Site => ({
    name,
    number,
    endpoint,
    publicKey,
    gateway4: network === null ? "" : gatewayAddress(network.tunnel4, number),
    gateway6: network === null ? "" : gatewayAddress(network.tunnel6, number)
  }))
  const own = all.find(({ name }) => name === file.site)
  if (own === undefined) {
    report(["site"], `unknown site ${quote(file.site)}`, suggestFix(file.site, names, "add it under sites"))
    return null
  }
  const { endpoint } = file
  if (own.endpoint.host !== endpoint.host || own.endpoint.port !== endpoint.port) {
    report(
      ["sites", own.name, "endpoint"],
      "it is not the endpoint of this gateway, which is of this site",
      "write the same as endpoint: says"
    )
  }
  return { own, all: [own, ...all.filter((site) => site !== own).toSorted((a, b) => a.number - b.number)] }
}

/** Which site serves the resource; `null`: this one, or there is only one. What names none is where all was before there were others. */
export const siteOfResource = (
  file: ConfigFile,
  name: string,
  sites: Omit<Sites, "elsewhere"> | null,
  report: Report
): Site | null => {
  const site = file.resources?.[name]?.site
  if (sites === null) {
    if (site !== undefined && file.sites === undefined) {
      report(["resources", name, "site"], "there are no sites", "list them (sites:), or remove site")
    }
    return null
  }
  const found = sites.all.find((each) => (site === undefined ? each.number === 0 : each.name === site))
  if (found === undefined && site !== undefined) {
    const fix = suggestFix(
      site,
      sites.all.map((each) => each.name),
      "add it under sites"
    )
    report(["resources", name, "site"], `unknown site ${quote(site)}`, fix)
  }
  return found === undefined || found === sites.own ? null : found
}

/** A client's packets to a network go to one site. */
export const checkSplit = (grants: ReadonlyArray<Grant & { readonly site: Site }>, report: Report): void => {
  const networks = Map.groupBy(
    grants.filter(({ resource }) => resource.kind !== "dns"),
    ({ resource }) => (resource.kind === "cidr" ? resource.network : "the Internet")
  )
  for (const [network, some] of networks) {
    const at = new Map<Client, (typeof some)[number]>()
    for (const grant of some) {
      const twice = grant.clients.find((client) => (at.get(client) ?? grant).site !== grant.site)
      if (twice !== undefined) {
        const other = at.get(twice)!
        report(
          ["resources", grant.resource.id],
          `${twice.id} has ${network} at site ${grant.site.name}, and by ${other.resource.id} at site ${other.site.name}: its packets go to one of them`,
          "use names for what is there, or allow a client one of the two",
          true
        )
      }
      for (const client of grant.clients) at.set(client, grant)
    }
  }
}
