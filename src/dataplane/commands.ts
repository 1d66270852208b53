/**
 * What the packet path is asked to be, from now on; `DesiredState` decides what the worker has to do for it. Every command
 * is keyed and idempotent: sending it again changes nothing. A client is who is at the other end of a tunnel. Addresses
 * are canonical text, keys base64, times milliseconds of the sender's monotonic clock.
 */
import type { IceCredentials } from "../model/AccessRequest.ts"
import type { ClientId } from "../model/Client.ts"
import type { MappingId } from "../model/Mapping.ts"
import type { PortFilter } from "../model/PortFilter.ts"
import type { Relay } from "../model/Relay.ts"
import type { DestinationOptIn, ResourceId } from "../model/Resource.ts"
import type { SocketAddress } from "../model/SocketAddress.ts"
import { clientEnd, type PacketPolicy } from "./packetPolicy.ts"

export type Command =
  | UpsertClient
  | RemoveClient
  | DisconnectClient
  | SetKnownEndpoints
  | SetSiblings
  | SetResource
  | RevokeResource
  | SetMapping
  | SetAddresses
  | RemoveMapping
  | LapseMapping
  | RefuseProxy
  | SetPolicy
  | SetKeys
  | SetRelays
  | SetHostCandidates
  | AddCandidate
  | RemoveCandidate
  | SendControl
  | Stop

export interface UpsertClient {
  readonly _tag: "UpsertClient"
  readonly client: ClientId
  readonly publicKey: string
  readonly presharedKey: string | null
  readonly tunnel4: string
  readonly tunnel6: string
  /**
   * After a restart: last known endpoint, the address of ours that it sent to, its last accepted handshake timestamp
   * (TAI64N, 24 hex digits) and the tick of our own last one. Here and below, what is not said stays as it was while the
   * key does; an endpoint is said with its `local`.
   */
  readonly endpoint?: SocketAddress | null
  readonly local?: string | null
  readonly lastTai64n?: string | null
  readonly sentTick?: number
  /** After a restart, too: the gateway's public key that its last handshake was made with. */
  readonly gatewayKey?: string | null
  /** Seconds; 0, as at first, is off. */
  readonly keepalive?: number
  /** Start a handshake towards `endpoint` (the client was active when the worker or the gateway went away). */
  readonly initiate?: boolean
  /**
   * The path to the client is found by ICE; absent or `null`: a plain endpoint that follows the client's packets, unless
   * the rest is known already: that says nothing about how it connects. The same parameters, key and addresses again keep the connection (local candidates are told again), and a preshared key that is
   * another one is tried when the client does not take the first; others replace it, and the client's resources, mappings
   * and sessions stay.
   */
  readonly ice?: IceParameters | null
}

/** Both sides' credentials and our role (RFC 8445). */
export interface IceParameters {
  readonly local: IceCredentials
  readonly remote: IceCredentials
  readonly role: "controlled" | "controlling"
}

/**
 * What other gateways with our key know of clients: one that comes over from there is called at its first packet. A client
 * is left as it is if its last handshake was here, or if ICE finds its path; unknown ones are passed over. At most 500 in
 * one command.
 */
export interface SetKnownEndpoints {
  readonly _tag: "SetKnownEndpoints"
  readonly clients: ReadonlyArray<KnownEndpoint>
  /**
   * Their gateway is gone: they are called in this order (so newest first), up to 2,000 a second, and by a next worker like
   * others after a start. `false`: their gateway lives, so nobody calls them unless they send.
   */
  readonly call: boolean
}

/** As in `UpsertClient`, at the other gateway. */
export interface KnownEndpoint {
  readonly client: ClientId
  readonly endpoint: SocketAddress
  readonly local: string | null
  readonly lastTai64n: string | null
  readonly sentTick: number
}

/**
 * The other gateways of the site that live, all of them from now on, for what is handed over while one is drained. Until it is
 * said there are none.
 */
export interface SetSiblings {
  readonly _tag: "SetSiblings"
  /** This one's number in the site, and whether it gives its clients away. */
  readonly gateway: number
  readonly draining: boolean
  readonly siblings: ReadonlyArray<Sibling>
}

export interface Sibling {
  /** 0…255. */
  readonly gateway: number
  /** Of its life: with another one it begins anew, whatever its clock says. */
  readonly epoch: number
  /** Where its WireGuard port is reached by the others; `null`: not known, until it is heard of. */
  readonly address: string | null
  readonly port: number
  readonly draining: boolean
}

interface RemoveClient {
  readonly _tag: "RemoveClient"
  readonly client: ClientId
}

/**
 * Ends the client's connection by ICE, if that is how it connects: it has to begin another one. What it may reach stays. As
 * an order: the client has no key, or no address, of its own any more.
 */
export interface DisconnectClient {
  readonly _tag: "DisconnectClient"
  readonly client: ClientId
}

export interface SetResource {
  readonly _tag: "SetResource"
  readonly client: ClientId
  readonly resource: ResourceId
  readonly kind: "dns" | "cidr" | "internet"
  /** The network of a CIDR resource; `null` otherwise. */
  readonly network: string | null
  readonly filters: ReadonlyArray<PortFilter>
  readonly allow: ReadonlyArray<DestinationOptIn>
}

/**
 * Takes the resource from the client: no packet passes that it alone let through, neither way. Flows that another resource
 * lets through go on by that one. The others are suspended, and so are mappings that no resource is left to: they go on
 * where they were when one is set again that covers them; flows to a network end.
 */
export interface RevokeResource {
  readonly _tag: "RevokeResource"
  readonly client: ClientId
  readonly resource: ResourceId
}

export interface SetMapping {
  readonly _tag: "SetMapping"
  readonly mapping: MappingId
  readonly client: ClientId
  /** Those that cover the name: what any of them lets through passes, as long as the client has that one. */
  readonly resources: ReadonlyArray<ResourceId>
  readonly proxyIps: ReadonlyArray<string>
  readonly generation: number
}

export interface SetAddresses {
  readonly _tag: "SetAddresses"
  readonly mapping: MappingId
  /** Number of the lookup that produced this; an older one than the last applied is ignored. */
  readonly lookup: number
  /**
   * `Resolving` only for a first lookup: packets are parked, no longer than `holdMs` from the lookup's beginning.
   * `Unasked`: there is none yet; the first packet is parked as well, and told as `Unmapped`.
   */
  readonly state: "Resolving" | "Resolved" | "Unresolved" | "Unasked"
  readonly addresses: ReadonlyArray<string>
  readonly staleAt: number
  /** Milliseconds, for `Resolving`; may be said anew while packets wait. 2,000 when left out. */
  readonly holdMs?: number
}

interface RemoveMapping {
  readonly _tag: "RemoveMapping"
  readonly mapping: MappingId
}

/** The mapping that no resource was left to has waited long enough: its sessions end, and it fares as `PacketPolicy.revokedMappings` says. */
export interface LapseMapping {
  readonly _tag: "LapseMapping"
  readonly mapping: MappingId
}

/** Nothing will come that the proxy IP stands for at the client: packets to it that wait are answered. Not replayed. */
export interface RefuseProxy {
  readonly _tag: "RefuseProxy"
  readonly client: ClientId
  readonly proxyIp: string
}

export interface SetPolicy {
  readonly _tag: "SetPolicy"
  readonly packets: PacketPolicy
  /** The gateway's own tunnel addresses. */
  readonly gateway4: string
  readonly gateway6: string
  /** Tunnel and proxy networks, both families. */
  readonly tunnelNetworks: ReadonlyArray<string>
  readonly proxyNetworks: ReadonlyArray<string>
  /** Parts of those that the gateway's host uses for something else. */
  readonly foreignNetworks: ReadonlyArray<string>
  /** All addresses of the gateway's host. */
  readonly ownAddresses: ReadonlyArray<string>
  /** Directed broadcast addresses of the networks that the host is in. */
  readonly broadcasts: ReadonlyArray<string>
  /** The host can forward to IPv6 addresses; `false`: who sends there is told. */
  readonly wayOut6: boolean
}

/** The policy of a client's end: it has no ranges of its own, and its host may be reached by all its gateways allow. */
export const clientPolicy: SetPolicy = {
  _tag: "SetPolicy",
  packets: clientEnd,
  gateway4: "0.0.0.0",
  gateway6: "::",
  tunnelNetworks: [],
  proxyNetworks: [],
  foreignNetworks: [],
  ownAddresses: [],
  broadcasts: [],
  wayOut6: true
}

/**
 * The gateway's private keys from now on: the one that clients should know, and one that answers as well. Until this is
 * said there is the one that the worker began with. Sessions go on, whichever key they began with.
 */
export interface SetKeys {
  readonly _tag: "SetKeys"
  readonly privateKey: string
  readonly endingKey: string | null
}

/** All relays from now on. One known by its id with the same addresses and credentials keeps its allocation. */
export interface SetRelays {
  readonly _tag: "SetRelays"
  readonly relays: ReadonlyArray<Relay>
}

/** Addresses of this host that clients may reach it at, besides those learned from relays' answers. */
export interface SetHostCandidates {
  readonly _tag: "SetHostCandidates"
  readonly addresses: ReadonlyArray<SocketAddress>
}

/** A candidate of the client's side, in text (RFC 8839 §5.1). */
export interface AddCandidate {
  readonly _tag: "AddCandidate"
  readonly client: ClientId
  readonly candidate: string
}

interface RemoveCandidate {
  readonly _tag: "RemoveCandidate"
  readonly client: ClientId
  readonly candidate: string
}

/** Sends an in-tunnel control event; dropped and counted when there is no tunnel. Not replayed. */
export interface SendControl {
  readonly _tag: "SendControl"
  readonly client: ClientId
  /** 0 AssignedIps, 1 DomainStatus, 2 Goodbye. */
  readonly event: number
  readonly payload: Uint8Array
}

interface Stop {
  readonly _tag: "Stop"
}
