import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { IceCredentials } from "../model/AccessRequest.ts"
import type { Client, ClientId } from "../model/Client.ts"
import type { SocketAddress } from "../model/SocketAddress.ts"

/** What a control plane remembers of a client from before the gateway's start. */
export interface ClientRestore {
  readonly endpoint: SocketAddress | null
  /** The address of ours that it sent to. */
  readonly local: string | null
  /** Last accepted handshake timestamp, 24 hex digits. */
  readonly lastTai64n: string | null
  /** The tick that our last handshake with it was stamped with. */
  readonly sentTick: number
  /** The gateway's public key that its last handshake was made with. */
  readonly gatewayKey: string | null
  /** Seconds; 0 is off. */
  readonly keepalive: number
  /** Start a handshake towards `endpoint`. */
  readonly initiate: boolean
}

/** A connection whose path ICE finds. */
export interface ConnectRequest {
  readonly client: Client
  /** The client's credentials. */
  readonly remote: IceCredentials
  /** Ours, where the control plane chose them. */
  readonly local: IceCredentials | null
  /** Makes ours, where it did not. */
  readonly draw: () => IceCredentials
}

/** Who may connect. An access request of a known client leaves the endpoint and timestamp that were restored at the start. */
export class Clients extends Context.Service<
  Clients,
  {
    /** Tells the data plane only what is new: an unknown client, other keys or other tunnel addresses, or a `restore`. */
    readonly upsert: (client: Client, restore?: ClientRestore) => Effect.Effect<void>
    /**
     * Makes or keeps the client's connection by ICE and returns the credentials of our side. The same key and credentials
     * keep it, whatever the preshared key: portals before mid 2025 draw another for every request,
     * and only the data plane sees which one the client has. Where ours are drawn, another one means another connection.
     */
    readonly connect: (request: ConnectRequest) => Effect.Effect<IceCredentials>
    readonly remove: (client: ClientId) => Effect.Effect<void>
    readonly list: Effect.Effect<ReadonlyArray<Client>>
  }
>()("sallyport/access/Clients") {}
