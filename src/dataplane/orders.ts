/**
 * What the packet worker carries out: commands as `DesiredState` decided them. Nothing in them is contested, and what
 * has changed is told by numbers: the same number again changes nothing. Plain data (structured clone), as `Command`s.
 */
import type { MappingId } from "../model/Mapping.ts"
import type { Command, LapseMapping, SetMapping, UpsertClient } from "./commands.ts"

export type Order =
  | Exclude<Command, UpsertClient | SetMapping | LapseMapping>
  | PlaceClient
  | PlaceMapping
  | SuspendMapping
  | Acknowledge

/** The client with a key and tunnel addresses that are its alone. */
export interface PlaceClient extends Required<Omit<UpsertClient, "_tag">> {
  readonly _tag: "PlaceClient"
  /** Grows with each order for a client; `ConnectionLost` says which was the last one that it knows. */
  readonly number: number
  /** The same: its connection goes on, and our candidates are told again. */
  readonly connection: number
  /** Another: its flows end. */
  readonly flows: number
  /** One told after `presharedKey` for the same connection: the client has one of the two. `null`: none was. */
  readonly laterPresharedKey: string | null
}

/**
 * The mapping with the proxies that are its alone. The same `version` changes nothing but the resources, and flows that
 * none of those lets through end; at another one all its flows end.
 */
export interface PlaceMapping extends Omit<SetMapping, "_tag" | "generation"> {
  readonly _tag: "PlaceMapping"
  readonly version: number
}

/** Its resources are gone: its proxies stay its own, its addresses are forgotten, and its flows wait for a resource. */
interface SuspendMapping {
  readonly _tag: "SuspendMapping"
  readonly mapping: MappingId
}

/** To be answered once all before it is carried out. */
export interface Acknowledge {
  readonly _tag: "Acknowledge"
  readonly number: number
}
