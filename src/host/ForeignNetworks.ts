import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"

/** A part of the gateway's ranges that the host uses for something else. */
export interface ForeignNetwork {
  /** Canonical text. */
  readonly network: string
  /** In an operator's words: the host's route or address. */
  readonly who: string
}

/**
 * Parts of the tunnel and proxy ranges that the host uses for something else: its uplink at a carrier, another overlay.
 * They are left to it, and a client with an address in one of them gets no replies. Followed live.
 */
export class ForeignNetworks extends Context.Service<
  ForeignNetworks,
  {
    readonly list: () => ReadonlyArray<ForeignNetwork>
    /** Replaces them; yields whether they are others than before. What is news is logged. */
    readonly found: (networks: ReadonlyArray<ForeignNetwork>) => Effect.Effect<boolean>
  }
>()("sallyport/host/ForeignNetworks") {}
