/**
 * What the portal tells devices, as it stands on the wire (docs/portal-protocol.md, "Messages to the gateway" and "The
 * client's side").
 */
import type { PortFilter } from "../../model/PortFilter.ts"
import { formatHostPort } from "../../packet/endpoint.ts"
import { deriveTurnCredentials } from "./credentials.ts"
import type { DeviceGroup, PortalRelay, PortalResource } from "./PortalConfig.ts"

/** Entries of a relay, one per family with the same id. `salt` names the device that gets them. */
export const relayEntries = (relay: PortalRelay, salt: string, now: number) => {
  const { credentials } = relay
  const lifetime = "secret" in credentials ? credentials.lifetimeSeconds : 14 * 86_400
  const expiresAt = Math.floor(now / 1000) + lifetime
  const { username, password } =
    "secret" in credentials ? deriveTurnCredentials(credentials.secret, expiresAt, salt) : credentials
  return relay.addresses.map(({ address, port }) => ({
    id: relay.id,
    type: "turn",
    addr: formatHostPort(address, port),
    username,
    password,
    expires_at: expiresAt
  }))
}

export const resourceForGateway = (resource: PortalResource) =>
  resource.kind === "internet"
    ? { type: "internet", id: resource.id }
    : {
        type: resource.kind,
        id: resource.id,
        name: resource.name,
        address: resource.address,
        filters: resource.filters.map(filterOf)
      }

export const resourceForClient = (resource: PortalResource, sites: ReadonlyArray<DeviceGroup>) => {
  const gateway_groups = sites
    .filter(({ name }) => resource.gateways.includes(name))
    .map(({ id, name }) => ({ id, name }))
  const common = { id: resource.id, name: resource.name, gateway_groups, can_be_disabled: false }
  return resource.kind === "internet"
    ? { type: "internet", ...common }
    : {
        type: resource.kind,
        ...common,
        address: resource.address,
        address_description: null,
        filters: resource.filters.map(filterOf)
      }
}

const filterOf = (filter: PortFilter) =>
  filter.protocol === "icmp"
    ? { protocol: "icmp" }
    : { protocol: filter.protocol, port_range_start: filter.from, port_range_end: filter.to }
