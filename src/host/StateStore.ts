import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { SocketAddress } from "../model/SocketAddress.ts"

/**
 * The state cannot be read or written; `message` is one line with the path, the cause and the fix. `inUse`: by another
 * gateway.
 */
export class StateError extends Schema.TaggedError<StateError>()("StateError", {
  message: Schema.String,
  inUse: Schema.optionalKey(Schema.Boolean)
}) {}

/** A persisted standalone mapping. `slot` numbers the client's block of proxy IPs (4 per family); no two names have the same. */
export interface StoredMapping {
  readonly client: string
  readonly resource: string
  readonly domain: string
  readonly slot: number
  readonly lastUsedAt: number
}

/** Released slots of one client that are remembered; further ones never come back. */
export const maxRested = 4_096

export interface StoredClient {
  readonly client: string
  /** Base64, of the device that all of this is of: another one may have the name by now. `null`: not known. */
  readonly publicKey: string | null
  readonly endpoint: SocketAddress | null
  /** The address of ours that it sends to. */
  readonly local: string | null
  /** Its latest handshake timestamp, 24 hex digits. */
  readonly lastTai64n: string | null
  /** The tick that our last handshake with it was stamped with. */
  readonly sentTick: number
  /** The gateway's public key that its last handshake was made with; `null`: not known. */
  readonly gatewayKey: string | null
  readonly lastSeenAt: number
}

/** Base64 private keys of a gateway. */
export interface GatewayKeys {
  /** The one that clients are given. */
  readonly privateKey: string
  /** One that answers as well for a time. */
  readonly ending: EndingKey | null
}

/** It ends when both have come: clocks jump, and a gateway runs no longer than time goes by. */
interface EndingKey {
  readonly privateKey: string
  /** Its last day, in epoch milliseconds. */
  readonly endsAt: number
  /** How many milliseconds a gateway still has to run with it. */
  readonly leftMs: number
}

/** What a gateway has of its site, for ever. */
export interface StoredSite {
  /** No other gateway's. */
  readonly id: string
  /** Slots that it alone gives, `[from, to)`, in the order in which they came: reservations are counted through them. */
  readonly spans: ReadonlyArray<{ readonly from: number; readonly to: number }>
}

/** Under what the slots of a site that were reserved for a client are counted: no client has such a name. */
export const reservedOf = (client: string, site = 0): string => (site === 0 ? client : `${client} ${site}`)

/** What a standalone gateway must remember: its keys, its clients' last handshakes, its mappings (SQLite, WAL). */
export class StateStore extends Context.Service<
  StateStore,
  {
    /** Why nothing new is kept at present, in one line; `null` while all is well. */
    readonly trouble: Effect.Effect<string | null>
    /** One for a gateway's life, unless it is rotated: every client has the public one in its configuration. */
    readonly keys: Effect.Effect<GatewayKeys, StateError>
    /**
     * Durable before it returns, where the next start looks, and no trace of other keys is left in the file. Where that fails
     * the keys are what they were.
     */
    readonly putKeys: (keys: GatewayKeys) => Effect.Effect<void, StateError>
    /** `leftMs` of the ending key; written as `putMapping` is. */
    readonly putKeyLeft: (leftMs: number) => Effect.Effect<void, StateError>
    readonly clients: Effect.Effect<ReadonlyArray<StoredClient>, StateError>
    /** All or none; written as `putMapping` is. */
    readonly putClients: (clients: ReadonlyArray<StoredClient>) => Effect.Effect<void, StateError>
    /** `null`: it has been in none yet. */
    readonly site: Effect.Effect<StoredSite | null, StateError>
    /** Durable before it returns. */
    readonly putSite: (site: StoredSite) => Effect.Effect<void, StateError>
    readonly mappings: Effect.Effect<ReadonlyArray<StoredMapping>, StateError>
    readonly mappingsOf: (client: string) => Effect.Effect<ReadonlyArray<StoredMapping>, StateError>
    /**
     * Of a slot; a name may have several. Fails where the slot is another name's.
     * Written before it returns: whatever ends the process cannot take it back. Power loss may take the latest ones, which
     * costs a name its proxy IPs, and nobody gets those: slots are reserved durably.
     */
    readonly putMapping: (mapping: StoredMapping) => Effect.Effect<void, StateError>
    /** Written as `putMapping` is. The slot rests from `releasedAt` on, one of `maxRested` at most per client. */
    readonly removeMapping: (
      mapping: Pick<StoredMapping, "client" | "slot" | "domain">,
      releasedAt: number
    ) => Effect.Effect<void, StateError>
    /**
     * The client's slot that has rested longest, and since `before` at least, of a site where one is named; `null`: there is
     * none. Durable before it returns: it is not handed out twice.
     */
    readonly takeRested: (client: string, before: number, site?: number) => Effect.Effect<number | null, StateError>
    /**
     * Reserves `count` of the client's slots for ever, durably, and returns the first: none is handed out twice, even after power
     * loss. Those of each site are counted by themselves; left out, it is site 0.
     */
    readonly reserveSlots: (client: string, count: number, site?: number) => Effect.Effect<number, StateError>
  }
>()("sallyport/host/StateStore") {}
