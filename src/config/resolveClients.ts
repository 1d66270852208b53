import { ClientId } from "../model/Client.ts"
import { parseAddress } from "../packet/address.ts"
import { assignAddresses, refuseFixed } from "./assignAddresses.ts"
import type { ConfigFile } from "./fileSchema.ts"
import type { ConfiguredClient, NetworkConfig } from "./GatewayConfig.ts"
import { checkName, type Report } from "./report.ts"
import { gatewaysOf } from "./resolveSites.ts"
import { keyBytes } from "./values.ts"

const maxClients = 10_000

/** The clients with their tunnel addresses, in the order of the file. */
export const resolveClients = (
  file: ConfigFile,
  network: NetworkConfig,
  rangesGood: boolean,
  report: Report
): ReadonlyArray<ConfiguredClient> => {
  const entries = Object.entries(file.clients ?? {})
  if (entries.length > maxClients) {
    report(["clients"], `more than ${maxClients} clients`, "split them over several gateways", true)
    return []
  }
  const byKey = new Map<string, string>()
  const byAddress = new Map<string, string>()
  for (const [name, client] of entries) {
    checkName(name, ["clients", name], report)
    const twin = byKey.get(client.public_key)
    if (twin !== undefined) {
      report(["clients", name, "public_key"], `same public_key as ${twin}`, "give every client its own key pair")
    }
    byKey.set(client.public_key, name)
    for (const [key, range] of [
      ["tunnel_ipv4", network.tunnel4],
      ["tunnel_ipv6", network.tunnel6]
    ] as const) {
      const fixed = client[key]
      if (fixed === undefined || !rangesGood) continue
      const refusal = refuseFixed(range, fixed, parseAddress(fixed)!, gatewaysOf(file))
      const owner = byAddress.get(fixed)
      if (refusal !== undefined) {
        report(["clients", name, key], `${fixed} ${refusal}`, `use a free address of ${range}, or leave ${key} out`)
      } else if (owner !== undefined) {
        report(
          ["clients", name, key],
          `${fixed} is already the address of ${owner}`,
          `use another, or leave ${key} out`
        )
      }
      byAddress.set(fixed, name)
    }
  }
  if (!rangesGood) return entries.map(([name, client]) => configured(name, client, "", ""))

  const addresses = (key: "tunnel_ipv4" | "tunnel_ipv6", range: string) => {
    const claims = entries.map(([, client]) => ({ publicKey: keyBytes(client.public_key)!, fixed: client[key] }))
    const assigned = assignAddresses(range, claims, gatewaysOf(file))
    if (assigned === undefined) {
      const fix = `use a larger network.${key}`
      report(["clients"], `${entries.length} clients do not fit into ${range}`, fix, true)
    }
    return assigned
  }
  const v4 = addresses("tunnel_ipv4", network.tunnel4)
  const v6 = addresses("tunnel_ipv6", network.tunnel6)
  return entries.map(([name, client], i) => configured(name, client, v4?.[i] ?? "", v6?.[i] ?? ""))
}

type ClientFile = NonNullable<ConfigFile["clients"]>[string]

const configured = (name: string, client: ClientFile, tunnel4: string, tunnel6: string): ConfiguredClient => ({
  id: ClientId.make(name),
  publicKey: client.public_key,
  presharedKey: client.preshared_key ?? null,
  tunnel4,
  tunnel6,
  groups: client.groups ?? []
})
