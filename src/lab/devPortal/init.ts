/** `init`: all that a device must know, after each join and whenever something of it changes. */
import { farFuture } from "./farFuture.ts"
import { flowLogs } from "./flowLogs.ts"
import { relaysFor } from "./joinedRelays.ts"
import { type Connection, log, type PortalState, push } from "./portalState.ts"
import { resourceForClient } from "./views.ts"

export const pushInit = (state: PortalState, to: Connection, now: number): void => {
  push(state, to, "init", to.device.role === "gateway" ? gatewayInit(state, to, now) : clientInit(state, to, now))
  log(state, `init sent to ${to.device.name}`, "Debug")
}

const gatewayInit = (state: PortalState, to: Connection, now: number) => ({
  interface: { ipv4: to.device.ipv4, ipv6: to.device.ipv6 },
  config: { ipv4_masquerade_enabled: true, ipv6_masquerade_enabled: true },
  relays: relaysFor(state, to, now),
  account_slug: "dev",
  ...(state.config.reconcile
    ? {
        authorizations: [...state.authorizations.values()]
          .filter(({ gateway }) => gateway === to.device.id)
          .map(({ client, resource, expiresAt }) => ({
            client_id: client,
            resource_id: resource,
            // Gateways 1.6 insist on an end.
            expires_at: expiresAt ?? (to.endpoint === 2 ? farFuture : null)
          }))
      }
    : {}),
  ...(to.endpoint === 2 ? { flow_logs: flowLogs } : {})
})

const clientInit = (state: PortalState, to: Connection, now: number) => ({
  interface: {
    ipv4: to.device.ipv4,
    ipv6: to.device.ipv6,
    upstream_dns: state.config.upstreamDns.map((address) => ({ protocol: "ip_port", address }))
  },
  resources: [...state.resources.values()]
    .filter(({ allow }) => allow.includes(to.device.group.name))
    .map((resource) => resourceForClient(resource, state.config.gateways)),
  relays: relaysFor(state, to, now),
  ...(to.endpoint === 2 ? { account_slug: "dev", actor_name: to.device.group.name, flow_logs: flowLogs } : {})
})
