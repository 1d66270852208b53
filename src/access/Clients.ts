import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { Client, ClientId } from "../model/Client.ts"

/** What a control plane remembers of a client from before the gateway's start. */
export interface ClientRestore {
  readonly endpoint: { readonly address: string; readonly port: number } | null
  /** Last accepted handshake timestamp, 24 hex digits. */
  readonly lastTai64n: string | null
  /** Seconds; 0 is off. */
  readonly keepalive: number
  /** Start a handshake towards `endpoint`. */
  readonly initiate: boolean
}

/**
 * The only sender of `UpsertClient` and `RemoveClient`: it knows what the data plane was told, so that an access request
 * of a known client never overwrites the endpoint and timestamp that were restored at the start.
 */
export class Clients extends Context.Service<
  Clients,
  {
    /** Tells the data plane only what is new: an unknown client, other keys or other tunnel addresses, or a `restore`. */
    readonly upsert: (client: Client, restore?: ClientRestore) => Effect.Effect<void>
    readonly remove: (client: ClientId) => Effect.Effect<void>
    readonly list: Effect.Effect<ReadonlyArray<Client>>
  }
>()("sallyport/access/Clients") {}
