/** What the packet worker tells the main thread. `epoch` numbers the worker; notices of an older one are dropped. */
import type { ClientId } from "../model/Client.ts"
import type { MappingId } from "../model/Mapping.ts"
import type { RelayId } from "../model/Relay.ts"
import type { ResourceId } from "../model/Resource.ts"
import type { SocketAddress } from "../model/SocketAddress.ts"
import type { AddressRow, ClientRow, FlowRow, RefusedRow, StrangerRow } from "./journal.ts"

export type Notice =
  | Ready
  | Acknowledged
  | Traffic
  | InUse
  | ClientState
  | ClientRemoved
  | HandshakeUnanswered
  | CandidateFound
  | CandidateLost
  | RelayLost
  | ConnectionLost
  | Control
  | Prohibited
  | UnknownProxy
  | Journal
  | Fault

interface OfWorker {
  readonly epoch: number
}

interface Ready extends OfWorker {
  readonly _tag: "Ready"
}

/** Everything up to the order of this number has been carried out, and the counters say so. */
interface Acknowledged extends OfWorker {
  readonly _tag: "Acknowledged"
  readonly number: number
}

export type TrafficCause = "Unmapped" | "Unanswered" | "Unreachable" | "Stale" | "Answered"

/** At most one per (mapping, cause) and second. Only authenticated, authorized, in-filter packets count. */
export interface Traffic extends OfWorker {
  readonly _tag: "Traffic"
  readonly mapping: MappingId
  readonly cause: TrafficCause
}

/** Every 10 s, for clients with 2,048 mappings or more: those of them that have sessions. */
interface InUse extends OfWorker {
  readonly _tag: "InUse"
  readonly client: ClientId
  readonly mappings: ReadonlyArray<MappingId>
}

/** After each handshake, endpoint change or expiry. Times are milliseconds of the main thread's monotonic clock. */
export interface ClientState extends OfWorker {
  readonly _tag: "ClientState"
  readonly client: ClientId
  /** Base64, of the device that this was seen of. */
  readonly publicKey: string
  readonly connected: boolean
  readonly endpoint: SocketAddress | null
  /** The address of ours that it sends to; `null`: not known. */
  readonly local: string | null
  /** The latest accepted handshake timestamp of this client, 24 hex digits. */
  readonly lastTai64n: string | null
  /** The tick (16.8 ms) that our last handshake with it was stamped with; 0: there was none. */
  readonly sentTick: number
  /** By how many milliseconds its handshake was stamped before `lastTai64n`: its clock was ahead once. 0: was not. */
  readonly behindMs: number
  readonly handshakeAt: number | null
  /** The gateway's public key that its last handshake was made with, once both sides have proved it. */
  readonly gatewayKey: string | null
  /** How packets go to the client, where ICE chose: `relayed` by either side; `null` while no path is nominated. */
  readonly path?: "direct" | "relayed" | null
}

/** By main itself: the client is none any more, and no `ClientState` of it follows unless it is one again. */
interface ClientRemoved extends OfWorker {
  readonly _tag: "ClientRemoved"
  readonly client: ClientId
}

/** At a client's end: an initiation to this gateway was not answered, and another one follows. */
interface HandshakeUnanswered extends OfWorker {
  readonly _tag: "HandshakeUnanswered"
  readonly client: ClientId
}

/** A candidate of our side of the client's connection: to be told to the client. */
interface CandidateFound extends OfWorker {
  readonly _tag: "CandidateFound"
  readonly client: ClientId
  readonly candidate: string
}

/** One told before is no more; in the same text. */
interface CandidateLost extends OfWorker {
  readonly _tag: "CandidateLost"
  readonly client: ClientId
  readonly candidate: string
}

/** A relay that does not answer or refuses; it is tried again when it is set anew or, unless refused, by itself. */
interface RelayLost extends OfWorker {
  readonly _tag: "RelayLost"
  readonly relay: RelayId
  readonly reason: "Unreachable" | "WrongCredentials" | "Refused"
  /** Relays that still work. */
  readonly left: number
}

/** The path to the client is gone; its resources, mappings and sessions stay until their authorizations end. */
export interface ConnectionLost extends OfWorker {
  readonly _tag: "ConnectionLost"
  readonly client: ClientId
  /** `PlaceClient.number` of the last order that the worker knew then. */
  readonly order: number
  readonly reason: "NoCandidates" | "IceFailed" | "HandshakeFailed" | "Goodbye"
}

/** An in-tunnel control event of a client, authenticated by its tunnel. Rate-limited. */
interface Control extends OfWorker {
  readonly _tag: "Control"
  readonly client: ClientId
  readonly event: number
  readonly payload: Uint8Array
}

/**
 * Mode `client`: a gateway says that it may not forward to the allowed network (ICMP 3/13, ICMPv6 1/1), so that the
 * authorization may have ended. Rate-limited.
 */
interface Prohibited extends OfWorker {
  readonly _tag: "Prohibited"
  readonly client: ClientId
  readonly resource: ResourceId
}

/**
 * A client sends to a proxy IP that stands for nothing at it. It is told "prohibited": it believes that we know a name
 * which it has announced; at most one per client and second. Or what it stands for is awaited (`PacketPolicy.unmapped`):
 * at most one per proxy IP and second, of 32 at a time of one client.
 */
interface UnknownProxy extends OfWorker {
  readonly _tag: "UnknownProxy"
  readonly client: ClientId
  /** Canonical. */
  readonly proxyIp: string
}

/** What happened to packets in about the last second; each list has a bound, and each client its share of it. */
export interface Journal extends OfWorker {
  readonly _tag: "Journal"
  readonly refused: ReadonlyArray<RefusedRow>
  readonly flows: ReadonlyArray<FlowRow>
  readonly clients: ReadonlyArray<ClientRow>
  readonly addresses: ReadonlyArray<AddressRow>
  readonly strangers: ReadonlyArray<StrangerRow>
  /** Flows, and handshakes of strangers, that did not fit. */
  readonly untold: { readonly flows: number; readonly strangers: number }
}

/** Something that an operator should know; the worker goes on unless it also exits. */
interface Fault extends OfWorker {
  readonly _tag: "Fault"
  readonly message: string
  /** No worker can go on: a descriptor is gone for good. The process ends, and whoever manages it starts it again. */
  readonly fatal?: true
}
