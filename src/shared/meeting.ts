/** What gateways of a site tell each other of themselves and of clients. Dates are epoch milliseconds of the engine's clock. */
import type { SocketAddress } from "../model/SocketAddress.ts"
import type { AboutGateway } from "./aboutGateway.ts"

/** Where and when a gateway had its last handshake with a device. */
export interface Sighting {
  readonly publicKey: string
  /** Who saw it, and in which of its lives. */
  readonly gateway: number
  readonly epoch: number
  readonly endpoint: SocketAddress
  /** The address of the gateway that it sent to; `null`: not known. */
  readonly local: string | null
  /** The latest handshake timestamp of the device that the gateway has accepted, 24 hex digits. */
  readonly lastTai64n: string | null
  /** The tick that the gateway's last handshake with it was stamped with. */
  readonly sentTick: number
  readonly handshakeAt: number
}

/** The last sign of life of a gateway. */
export interface Heartbeat {
  readonly gateway: number
  /** Grows from life to life. */
  readonly epoch: number
  readonly at: number
  /** With a session there. */
  readonly clients: number
  /** Since when it has the site's virtual address; `null`: it does not say that it has. */
  readonly masterSince: number | null
  /** Who calls its clients, if it was silent. */
  readonly heir: number | null
  /** Where others reach its WireGuard port: as it says, or as the engine sees it; `null`: not known. */
  readonly address: string | null
  /** `null`: an older version, which can be handed nothing. */
  readonly port: number | null
  /** It gives its clients away. */
  readonly draining: boolean
  /** `null`: an older version, or nothing that can be read. */
  readonly about: AboutGateway | null
}

/** What a gateway says of itself. */
export interface Hello {
  readonly gateway: number
  /** `null`: this life has no number yet. */
  readonly epoch: number | null
  readonly clients: number
  /** Whether it has the virtual address; `claim`: it was told so just now. */
  readonly master: "claim" | "keep" | "no"
  /** Where others reach its WireGuard port; `null`: as the engine sees it. */
  readonly address: string | null
  readonly port: number
  /** It gives its clients away. */
  readonly draining: boolean
  /** Those that others do not know, or not as they are now. */
  readonly sightings: ReadonlyArray<Sighting>
  readonly about: AboutGateway | null
  /** Up to which revision the sightings of each gateway are known; of one that is left out none is. */
  readonly known: ReadonlyMap<number, number>
}

/** How the site is just then. */
export interface Meeting {
  readonly dateMs: number
  /** Of this life. */
  readonly epoch: number
  /** The gateway's own heartbeat before this one. */
  readonly before: Heartbeat | null
  readonly heartbeats: ReadonlyArray<Heartbeat>
  /** In the order in which they came about. */
  readonly sightings: ReadonlyArray<Sighting>
  /** Up to which revision those of each gateway have been read: revisions grow for each gateway by itself. */
  readonly read: ReadonlyMap<number, number>
  /** There are no more of them. */
  readonly last: boolean
}

/** A gateway that was not heard of for so long is silent. Milliseconds. */
export const silentMs = 3_000

/** Whether a sign of life of `at` says that its gateway lives. One that is to come is older than a clock that was set back. */
export const isFresh = (at: number, dateMs: number): boolean => Math.abs(dateMs - at) < silentMs

/** Sightings that are told, and that are read, at once: questions have their turn in between. */
export const maxTold = 1_000
export const maxRead = 1_000
