/**
 * What the packet worker carries out: commands as `DesiredState` decided them. Nothing in them is contested, and what
 * has changed is told by numbers: the same number again changes nothing. Plain data (structured clone), as `Command`s.
 */
import type { ClientId } from "../model/Client.ts"
import type { MappingId } from "../model/Mapping.ts"
import type { ResourceId } from "../model/Resource.ts"
import type { SocketAddress } from "../model/SocketAddress.ts"
import type {
  AddCandidate,
  IceParameters,
  RemoveCandidate,
  RemoveClient,
  RemoveMapping,
  RevokeResource,
  SendControl,
  SetAddresses,
  SetHostCandidates,
  SetPolicy,
  SetRelays,
  SetResource,
  Stop
} from "./commands.ts"

export type Order =
  | PlaceClient
  | DisconnectClient
  | RemoveClient
  | SetResource
  | RevokeResource
  | PlaceMapping
  | SuspendMapping
  | SetAddresses
  | RemoveMapping
  | SetPolicy
  | SetRelays
  | SetHostCandidates
  | AddCandidate
  | RemoveCandidate
  | SendControl
  | Stop

/** The client with a key and tunnel addresses that are its alone. */
export interface PlaceClient {
  readonly _tag: "PlaceClient"
  readonly client: ClientId
  /** Grows with each order for a client; `ConnectionLost` says which was the last one that it knows. */
  readonly number: number
  /** The same: its connection goes on, and our candidates are told again. */
  readonly connection: number
  /** Another: its flows end. */
  readonly flows: number
  readonly publicKey: string
  /** The one that the connection was made with. */
  readonly presharedKey: string | null
  /** One told later for the same connection: the client has one of the two. `null`: none was. */
  readonly laterPresharedKey: string | null
  readonly tunnel4: string
  readonly tunnel6: string
  /** As of `UpsertClient`. */
  readonly endpoint: SocketAddress | null
  readonly lastTai64n: string | null
  readonly keepalive: number
  readonly initiate: boolean
  readonly ice: IceParameters | null
}

/** The client has no key, or no address, of its own any more. What it may reach stays, for when it comes with its own. */
interface DisconnectClient {
  readonly _tag: "DisconnectClient"
  readonly client: ClientId
}

/** The mapping with the proxies that are its alone. The same `version` changes nothing; at another one its flows end. */
export interface PlaceMapping {
  readonly _tag: "PlaceMapping"
  readonly mapping: MappingId
  readonly client: ClientId
  readonly resource: ResourceId
  readonly proxyIps: ReadonlyArray<string>
  readonly version: number
}

/** Its resource is gone: its proxies stay its own, its flows and addresses are forgotten. */
interface SuspendMapping {
  readonly _tag: "SuspendMapping"
  readonly mapping: MappingId
}
