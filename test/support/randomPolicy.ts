/** Policies of clients 1 and 2 of `engineWorld`, as random as a reload may meet them. */
import type { ConfiguredClient, GatewayConfig } from "../../src/config/GatewayConfig.ts"
import { recordType } from "../../src/dns/registry.ts"
import { type Resource, ResourceId } from "../../src/model/Resource.ts"
import { cidrResource, dnsResource } from "./access.ts"
import { configOf } from "./standalone.ts"
import type { Random } from "./traffic.ts"

export const policyNames = ["a.corp", "b.corp", "c.corp"]
/** Grants end then, or after everything that a test does, or never. */
const expiredAt = 1_000
const endings = [null, null, expiredAt, 1e12]

const patterns = [...policyNames, ...policyNames, "*.corp"]
const networks = ["9.0.0.0/16", "9.1.0.0/16", "9.2.0.0/16", "9.1.5.0/24", "9.0.0.0/14"]
/** Some of which a resource may cover, or a zone. */
export const recordNames = ["c.corp", "r.corp", "r.zone"]
const resolvers = ["one", "two"]
const optIns = [[], [], ["loopback"]] as const
const families = [null, null, 4, 6] as const
const addressRecord = { type: recordType.A, data: { _tag: "Address", address: "9.3.0.1" } } as const
const portSets = [[], [443], [80], [80, 443]]

/** What differs from one policy to the next of a client: its public key, say. */
export type ClientOf = (client: ConfiguredClient) => Partial<ConfiguredClient>

/** Each client is there in three policies of four, and is what `clientOf` makes of it this time. */
export const randomPolicy = ({ below, chance, pick }: Random, clientOf: ClientOf = () => ({})): GatewayConfig => {
  const clients = configOf([])
    .clients.map((client): ConfiguredClient => ({ ...client, ...clientOf(client) }))
    .filter(() => below(4) > 0)
  const resources = [1, 2, 3, 4].flatMap((n): ReadonlyArray<Resource> => {
    if (below(4) === 0) return []
    const filters = pick(portSets).map((port) => ({ protocol: "tcp" as const, from: port, to: port }))
    const over = { id: ResourceId.make(`resource-${n}`), filters, allow: pick(optIns) }
    if (below(8) === 0) return [{ kind: "internet", ...over }]
    if (chance(0.5)) return [{ ...cidrResource(pick(networks)), ...over }]
    const family = pick(families)
    return [dnsResource(pick(patterns), { resolver: pick(resolvers), ...over, ...(family !== null && { family }) })]
  })
  const grants = resources.map((resource) => ({
    resource,
    expiresAt: pick(endings),
    clients: clients.filter(() => chance(0.5))
  }))
  const only = new Set(clients.slice(0, 1).map(({ id }) => id))
  const zones = [{ domain: "zone", resolver: pick(resolvers), clients: pick([null, only]) }]
  return configOf(resources, {
    clients,
    grants,
    search: chance(0.5) ? [] : ["corp"],
    zones: chance(0.5) ? [] : zones,
    records: new Map(chance(0.5) ? [] : [[pick(recordNames), [{ ...addressRecord, ttl: pick([60, 90]) }]]])
  })
}
