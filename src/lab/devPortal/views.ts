/**
 * What the portal tells devices, as it stands on the wire (docs/portal-protocol.md, "Messages to the gateway" and "The
 * client's side").
 */
import type { PortFilter } from "../../model/PortFilter.ts"
import { formatHostPort } from "../../packet/endpoint.ts"
import { deriveStampedCredentials, deriveTurnCredentials } from "./credentials.ts"
import type { DeviceGroup, PortalRelay, PortalResource } from "./PortalConfig.ts"
import type { Peer } from "./portalState.ts"

/** Entries of a relay, one per family with the same id, for a device. */
export const relayEntries = (relay: PortalRelay, { device, publicKey }: Peer, now: number) => {
  const { expiresAt, password, username } = credentialsOf(relay, device.id, publicKey, Math.floor(now / 1000))
  return relay.addresses.map(({ address, port }) => ({
    id: relay.id,
    type: "turn",
    addr: formatHostPort(address, port),
    username,
    password,
    expires_at: expiresAt
  }))
}

const credentialsOf = ({ credentials }: PortalRelay, device: string, publicKey: string, now: number) => {
  if ("stampSecret" in credentials) return deriveStampedCredentials(credentials.stampSecret, publicKey)
  if (!("secret" in credentials)) return { ...credentials, expiresAt: now + 14 * 86_400 }
  const expiresAt = now + credentials.lifetimeSeconds
  return { ...deriveTurnCredentials(credentials.secret, expiresAt, device), expiresAt }
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
