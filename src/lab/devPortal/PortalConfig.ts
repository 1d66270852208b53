import type { HostPort } from "../../config/GatewayConfig.ts"
import type { PortFilter } from "../../model/PortFilter.ts"
import type { SocketAddress } from "../../model/SocketAddress.ts"

/** Devices that share a token: gateways of one site, or clients of one user. */
export interface DeviceGroup {
  readonly id: string
  readonly name: string
  readonly token: string
}

/** A resource of the portal; ids are UUIDs derived from names. */
export interface PortalResource {
  readonly id: string
  readonly name: string
  readonly kind: "dns" | "cidr" | "internet"
  /** Pattern or network; `null` for the Internet. */
  readonly address: string | null
  readonly filters: ReadonlyArray<PortFilter>
  /** Names of the gateway groups that serve it. */
  readonly gateways: ReadonlyArray<string>
  /** Names of the client groups that may reach it. */
  readonly allow: ReadonlyArray<string>
}

export interface PortalRelay {
  readonly id: string
  readonly name: string
  /** One per family at most. */
  readonly addresses: ReadonlyArray<SocketAddress>
  /** Fixed, derived from a secret shared with the TURN server, or from the one that the relay has joined with. */
  readonly credentials:
    | { readonly username: string; readonly password: string }
    | { readonly secret: string; readonly lifetimeSeconds: number }
    | { readonly stampSecret: string }
}

/** A checked configuration of the development portal. */
export interface PortalConfig {
  readonly listen: HostPort
  /** Path of the Unix socket for commands; `null`: none. */
  readonly adminSocket: string | null
  /** Where authorizations survive a restart of the portal; `null`: they do not. */
  readonly stateFile: string | null
  readonly gateways: ReadonlyArray<DeviceGroup>
  readonly clients: ReadonlyArray<DeviceGroup>
  readonly resources: ReadonlyArray<PortalResource>
  readonly relays: ReadonlyArray<PortalRelay>
  /** Of relays that join by themselves; `null`: none may. */
  readonly relayToken: string | null
  /** Whether clients get only gateways whose announced version suits theirs. */
  readonly versionGate: boolean
  /** Life of an authorization in seconds; `null`: for ever. */
  readonly expiresAfter: number | null
  /** Address texts with port. */
  readonly upstreamDns: ReadonlyArray<string>
  /** Whether `init` lists the gateway's authorizations (portals since mid 2025). */
  readonly reconcile: boolean
}
