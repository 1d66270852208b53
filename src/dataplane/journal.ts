/**
 * What the packet worker tells of what happened to packets: sums of about a second, within a budget. Ages are milliseconds
 * before the notice was sent, so that they hold by any clock.
 */
import type { ClientId } from "../model/Client.ts"
import type { MappingId } from "../model/Mapping.ts"
import type { ResourceId } from "../model/Resource.ts"
import type { SessionEnd } from "../nat/sessions.ts"
import type { EngineCounter } from "./counters.ts"

type Reason<Counter> = Counter extends `outbound.${infer Reason}` ? Reason : never

/** Why a packet of a client went no further; each is the counter `outbound.…` of the same name. */
export const refusalReasons = [
  "source_spoofed",
  "tunnel_address",
  "gateway_service_denied",
  "gateway_rate_limited",
  "unauthorized",
  "filtered",
  "unmapped",
  "unresolved",
  "destination_refused",
  "untranslatable",
  "parking_full",
  "ports_exhausted",
  "sessions_limited"
] as const satisfies ReadonlyArray<Reason<EngineCounter>>

export type RefusalReason = (typeof refusalReasons)[number]

/** Where packets go, as the client sees it. */
interface Destination {
  readonly address: string
  /** IP protocol number. */
  readonly protocol: number
  /** 0 for protocols without ports. */
  readonly port: number
  /** The name that the address stands for. */
  readonly mapping: MappingId | null
  /** What has the destination, whether it lets the packets through or not. */
  readonly resource: ResourceId | null
}

/** Packets of one client that were refused alike; without `to`: further ones, of more kinds than are told apart. */
export interface RefusedRow {
  readonly client: ClientId
  readonly packets: number
  readonly reason: RefusalReason | null
  readonly to: Destination | null
}

export interface FlowRow {
  readonly client: ClientId
  readonly to: Destination
  /** The real address, if it is another than the client sees. */
  readonly real: string | null
  /** Of IP packets to the client so far; of a flow that began, 0: none came within 3 s. */
  readonly bytesIn: number
  /** `null`: it has begun, and goes on. */
  readonly end: {
    readonly why: SessionEnd
    /** Of IP packets from the client. */
    readonly bytesOut: number
    readonly durationMs: number
  } | null
}

/** What was added since the last row of this client, and what is so now. */
export interface ClientRow {
  readonly client: ClientId
  /** Bytes of WireGuard's datagrams from the client and to it. */
  readonly bytesIn: number
  readonly bytesOut: number
  readonly refused: number
  readonly flows: number
  /** Handshakes of it in a row that were answered, and no session came of them. */
  readonly unusedAnswers: number
  /** Of the last authentic message from it, keepalives too; `null`: there was none. */
  readonly heardAgo: number | null
  /** Of the last inner packet either way. */
  readonly activeAgo: number | null
}

/** A real address of a name that has not answered new flows of TCP and ping; with 0 tries: it does so again. */
export interface AddressRow {
  readonly mapping: MappingId
  readonly address: string
  /** Flows without any reply since the last one. */
  readonly tries: number
  /** Of the first of them. */
  readonly sinceAgo: number
  /** Of the last reply from it to this client; `null`: none is remembered. */
  readonly repliedAgo: number | null
}

/** A device that knows this gateway's public key, but has none that the gateway knows. Neither is proven. */
export interface StrangerRow {
  readonly publicKey: string
  readonly address: string
  readonly port: number
  readonly handshakes: number
}
