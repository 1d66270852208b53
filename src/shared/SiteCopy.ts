import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { StateError, StoredMapping } from "../host/StateStore.ts"
import type { Cursor, MappingChange, ReleasedMapping, SharedPage, SignedIn } from "./SharedStore.ts"
import type { Holding } from "./slotZones.ts"

/** Where a gateway stands in its site. */
export interface Standing extends Holding {
  /** After which the next page comes; `null`: all is read anew. */
  readonly cursor: Cursor | null
  /**
   * When all was read last, or until it was, the first page: in epoch milliseconds of the store's clock, and of this gateway's
   * own. `null`: nothing was read yet.
   */
  readonly readAt: { readonly store: number; readonly own: number } | null
}

/**
 * What one gateway keeps of its site, on its own disk: what others have told, and what has become of each slot that is its
 * own. Without it nothing goes wrong, but its own slots that were released do not come back.
 */
export class SiteCopy extends Context.Service<
  SiteCopy,
  {
    readonly standing: Effect.Effect<Standing>
    /** Names that other gateways gave, as far as they have been read. */
    readonly mappings: Effect.Effect<ReadonlyArray<StoredMapping>, StateError>
    readonly mappingsOf: (client: string) => Effect.Effect<ReadonlyArray<StoredMapping>, StateError>
    /** Slots by exact name: always this one map, which has what is on the disk. */
    readonly directory: ReadonlyMap<string, number>
    /**
     * What was sent and has not come back is unsent again; where the store has lost something all that is own is, and what has
     * rested rests anew.
     */
    readonly signedIn: (as: SignedIn) => Effect.Effect<void, StateError>
    /**
     * Yields what others have done, and own names of which nothing was known or that were used elsewhere since.
     * @param now from before it was asked for, in epoch milliseconds
     */
    readonly take: (page: SharedPage, now: number) => Effect.Effect<ReadonlyArray<MappingChange>, StateError>
    /**
     * After the last page: forgets some of what has not come again since all was read anew, and yields it; none is left where
     * it yields none.
     */
    readonly sweep: Effect.Effect<ReadonlyArray<ReleasedMapping>, StateError>
    /** What is known of the names that others gave is too old to rely on: the same with all of them, and all is read anew. */
    readonly lapse: Effect.Effect<ReadonlyArray<ReleasedMapping>, StateError>
    /** A name has an own slot, or the directory's at a client; or it was used again, whoever gave it. */
    readonly put: (mapping: StoredMapping) => Effect.Effect<void, StateError>
    /** One of others is only forgotten here. */
    readonly release: (mapping: ReleasedMapping) => Effect.Effect<void, StateError>
    /** Puts those of own slots, and of the directory's, of which nothing is known here. */
    readonly putMissing: (mappings: ReadonlyArray<StoredMapping>) => Effect.Effect<void, StateError>
    /** What the site does not know, first what is own, the oldest first. */
    readonly unsent: (atMost: number) => Effect.Effect<ReadonlyArray<MappingChange>, StateError>
    /** How much that is. */
    readonly untold: Effect.Effect<number, StateError>
    /** Those that are so still. */
    readonly sent: (changes: ReadonlyArray<MappingChange>) => Effect.Effect<void, StateError>
    /** Another name has the slot, which is no business of this gateway's from then on. */
    readonly withdraw: (mapping: ReleasedMapping) => Effect.Effect<void, StateError>
    /**
     * The own slot of the client, in the slice of a site, that has rested longest, and since `before` at least by the store's
     * clock: since its release came back from the store. `null`: there is none. Durable before it returns: it is not handed out twice.
     */
    readonly takeRested: (client: string, before: number, site?: number) => Effect.Effect<number | null, StateError>
  }
>()("sallyport/shared/SiteCopy") {}
