/** Policies of clients 1 and 2 of `engineWorld`, as random as a reload may meet them. */
import type { ConfiguredClient, GatewayConfig } from "../../src/config/GatewayConfig.ts"
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
const portSets = [[], [443], [80], [80, 443]]

/** `keyOf`: the public key that a client has this time. Each client is there in three policies of four. */
export const randomPolicy = (
  { below, chance, pick }: Random,
  keyOf: (client: ConfiguredClient) => string = ({ publicKey }) => publicKey
): GatewayConfig => {
  const clients = configOf([])
    .clients.map((client): ConfiguredClient => ({ ...client, publicKey: keyOf(client) }))
    .filter(() => below(4) > 0)
  const resources = [1, 2, 3, 4].flatMap((n): ReadonlyArray<Resource> => {
    if (below(4) === 0) return []
    const filters = pick(portSets).map((port) => ({ protocol: "tcp" as const, from: port, to: port }))
    const over = { id: ResourceId.make(`resource-${n}`), filters }
    if (below(8) === 0) return [{ kind: "internet", allow: [], ...over }]
    return chance(0.5)
      ? [{ ...cidrResource(pick(networks)), ...over }]
      : [dnsResource(pick(patterns), { resolver: pick(["one", "two"]), ...over })]
  })
  const grants = resources.flatMap((resource) =>
    clients.filter(() => chance(0.5)).map((client) => ({ client, resource, expiresAt: pick(endings) }))
  )
  return configOf(resources, { clients, grants, search: chance(0.5) ? [] : ["corp"] })
}
