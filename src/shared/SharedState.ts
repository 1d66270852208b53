import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Queue from "effect/Queue"
import type { StateError, StoredMapping } from "../host/StateStore.ts"
import type { Conflict, MappingChange, SharedStoreStatus } from "./SharedStore.ts"
import type { Standing } from "./SiteCopy.ts"

/** What has come from the site: names of all its gateways, this one's own among them. */
export interface SiteNews {
  /** In the order in which they came about. */
  readonly changes: ReadonlyArray<MappingChange>
  /** Own ones that are to be withdrawn: another name has their slot. */
  readonly conflicts: ReadonlyArray<Conflict>
}

/**
 * What a gateway knows of its site, and tells it. Nothing here waits for the site's store: what is put into the state is
 * told as soon as it can be, within 100 ms while the store is there, and what the others tell comes by itself.
 */
export class SharedState extends Context.Service<
  SharedState,
  {
    readonly standing: Effect.Effect<Standing>
    /** Names that other gateways gave, as far as they are known, and not older than a day. */
    readonly mappings: Effect.Effect<ReadonlyArray<StoredMapping>, StateError>
    readonly mappingsOf: (client: string) => Effect.Effect<ReadonlyArray<StoredMapping>, StateError>
    /** One reader; while it does not read, nothing more is taken in. */
    readonly news: Queue.Dequeue<SiteNews>
    readonly store: Effect.Effect<SharedStoreStatus>
    /** There is something to ask the site for: it is asked as soon as may be. */
    readonly again: Effect.Effect<void>
    /** The same within 100 ms: once, however many want it. */
    readonly soon: Effect.Effect<void>
  }
>()("sallyport/shared/SharedState") {}
