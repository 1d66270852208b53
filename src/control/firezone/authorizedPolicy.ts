/** What a portal has told of its policy so far, as the rules of who reaches what take it. Pure. */
import { defaultNetwork } from "../../config/GatewayConfig.ts"
import type { Authorization } from "../../model/Authorization.ts"
import type { ReachPolicy } from "../standalone/reach.ts"

export const authorizedPolicy = (grants: ReadonlyArray<Authorization>): ReachPolicy => ({
  grants: grants.map(({ client, expiresAt, resource }) => ({ resource, expiresAt, clients: [client] })),
  resources: [...new Map(grants.map(({ resource }) => [resource.id, resource])).values()],
  otherNames: "refuse",
  network: defaultNetwork,
  records: new Map(),
  search: [],
  zones: [],
  sites: null,
  endpoint: { host: "", port: 0 },
  gateway4: null,
  gateway6: null
})
