/** What the packet worker tells the main thread. `epoch` numbers the worker; notices of an older one are dropped. */
import type { ClientId } from "../model/Client.ts"
import type { MappingId } from "../model/Mapping.ts"

export type Notice = Ready | Traffic | ClientState | Fault

export interface Ready {
  readonly _tag: "Ready"
  readonly epoch: number
}

export type TrafficCause = "Unmapped" | "Unanswered" | "Unreachable" | "Stale" | "Answered"

/** At most one per (mapping, cause) and second. Only authenticated, authorized, in-filter packets count. */
export interface Traffic {
  readonly _tag: "Traffic"
  readonly epoch: number
  readonly mapping: MappingId
  readonly cause: TrafficCause
}

/** After each handshake, endpoint change or expiry. Times are epoch milliseconds. */
export interface ClientState {
  readonly _tag: "ClientState"
  readonly epoch: number
  readonly client: ClientId
  readonly connected: boolean
  readonly endpoint: { readonly address: string; readonly port: number } | null
  /** The last accepted handshake timestamp of this client, 24 hex digits. */
  readonly lastTai64n: string | null
  readonly handshakeAt: number | null
}

/** Something that an operator should know; the worker goes on unless it also exits. */
export interface Fault {
  readonly _tag: "Fault"
  readonly epoch: number
  readonly message: string
  /** No worker can go on: a descriptor is gone for good. The process ends, and whoever manages it starts it again. */
  readonly fatal?: true
}
