import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { GatewayConfig } from "../config/GatewayConfig.ts"
import type { StateError } from "../host/StateStore.ts"
import type { NameImport } from "../shared/importNames.ts"
import type { LoadError } from "./load.ts"

/** What a copy of the state holds. */
export interface StateSummary {
  /** Base64. */
  readonly publicKey: string
  /** The one before, where it answers as well. */
  readonly endingKey: string | null
  readonly clients: number
  readonly names: number
}

/** What was done to a state directory. */
export interface Restored extends StateSummary {
  /** Where the state before lies now; `null`: there was none. */
  readonly kept: string | null
  /** The public key before; `null`: there was none that could be read. */
  readonly before: string | null
  /** Which slots were handed out before could not be read, though something was there: they may come to be others'. */
  readonly slotsLost: boolean
}

/** The state of a gateway as files. A gateway may run beside `backup`, and none beside the others. */
export class StateFiles extends Context.Service<
  StateFiles,
  {
    /** Writes all of the state to a file of mode 0600 that appears as a whole. A file that is there stays unless `overwrite`. */
    readonly backup: (
      stateDir: string,
      file: string,
      options: { readonly overwrite: boolean }
    ) => Effect.Effect<StateSummary, StateError | LoadError>
    /** Puts a backup in the place of the state, which is kept beside it. */
    readonly restore: (stateDir: string, file: string) => Effect.Effect<Restored, StateError | LoadError>
    /** Takes over names of a backup of `other`, which was alone: all that can be, or with `dryRun` none. */
    readonly importNames: (
      config: GatewayConfig,
      other: GatewayConfig,
      file: string,
      options: { readonly dryRun: boolean }
    ) => Effect.Effect<NameImport, StateError | LoadError>
  }
>()("sallyport/cli/StateFiles") {}
