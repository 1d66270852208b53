import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import type { StoredMapping } from "../host/StateStore.ts"
import type { DirectoryEntry } from "./directory.ts"
import type { PolicyVersion, SitePolicy } from "./SitePolicy.ts"
import type { SlotSpan } from "./slotZones.ts"

/**
 * Why a site's store could not do it: `Unreachable` (no connection, or none that may write), `Refused` (a certificate, a
 * password, a right), `Standby` (it is not the one that is written to), `Silent` (no answer in time), `Newer` (a later version's schema), `Taken` (another process is this
 * gateway), `Failed` (anything else). `message` is one line with the place, the cause and the fix, and no secret.
 */
export class SharedStoreError extends Schema.TaggedError<SharedStoreError>()("SharedStoreError", {
  reason: Schema.Literals(["Unreachable", "Refused", "Standby", "Silent", "Newer", "Taken", "Failed"]),
  message: Schema.String
}) {}

/** A name that has lost its slot at a client. */
export type ReleasedMapping = Pick<StoredMapping, "client" | "slot" | "domain">

/** What happened to one slot of one client. */
export type MappingChange =
  | { readonly _tag: "Put"; readonly mapping: StoredMapping }
  | { readonly _tag: "Released"; readonly mapping: ReleasedMapping }

/** Another name has the slot: whoever put this one withdraws it. */
export interface Conflict extends ReleasedMapping {
  readonly holder: string
}

/** How far a gateway has read, and what tells that the store still has the history that it has read. */
export interface Cursor {
  readonly revision: number
  readonly head: number
  readonly token: string
}

/** What changed between two cursors; applied twice it does the same as once. */
export interface SharedPage {
  readonly changes: ReadonlyArray<MappingChange>
  readonly directory: ReadonlyArray<DirectoryEntry>
  readonly cursor: Cursor
  /** Nothing came after it when it was read. */
  readonly last: boolean
  /**
   * It is the first one of everything: the cursor was none, is too old, or of a history that the store has lost (a fail-over
   * to a standby that was behind, a restored backup). What is known and does not come again is not there any more.
   */
  readonly anew: boolean
  /** All blocks of the gateway that reads. */
  readonly blocks: ReadonlyArray<number>
  /** When it was read, in epoch milliseconds of the store's clock: those of gateways differ. */
  readonly dateMs: number
}

/** What a gateway has of the store. One that has lost some of it gets it back with the sign-in. */
export interface SignIn {
  /** The same one in each of its lives, and no other gateway's. */
  readonly id: string
  /** Of an earlier sign-in; `null`: it has none yet. */
  readonly gateway: number | null
  /** Of the site; without a number those of what it gave when it was alone, which are its own then unless any is another's. */
  readonly blocks: ReadonlyArray<number>
  readonly directory: ReadonlyArray<DirectoryEntry>
  readonly cursor: Cursor | null
  /** By number which of the sites it is of; `null` or left out: there is only one. */
  readonly sites?: { readonly own: number; readonly all: ReadonlyArray<SiteNumber> } | null
}

/** What it is called and which slice of the slots it has: for ever the same at all gateways. */
export interface SiteNumber {
  readonly name: string
  readonly number: number
}

export interface SignedIn {
  /** Its number in the site, for ever. */
  readonly gateway: number
  /** The store does not have what this gateway has read: it is told all of its own again, what it released, too. */
  readonly lost: boolean
}

export type SharedStoreStatus =
  /** `at`: host and port of the one that is written to. */
  | { readonly _tag: "Connected"; readonly at: string; readonly sinceMs: number }
  | { readonly _tag: "Away"; readonly error: SharedStoreError; readonly sinceMs: number }

/** What a gateway asks for the site's policy with. */
export interface PolicyLook {
  /** `null`: it has no number yet, and says nothing of itself. */
  readonly gateway: number | null
  /** What it goes by; `null`: its own file. */
  readonly inForce: PolicyVersion | null
  /** The token of one whose text it does not need. */
  readonly known: string | null
}

/** Without its text where that is known. */
export type OfferedPolicy = Omit<SitePolicy, "text"> & { readonly text: string | null }

/** Changes of one `write`, at most. */
export const maxWritten = 1_000

/**
 * What the gateways of a site share. It is for learning, never for serving: without a connection everything fails at once,
 * with one within seconds. What fails may have happened all the same, and may be asked for again: that does no harm.
 *
 * What is given for ever (blocks, the directory) is given only when no gateway can have more of it than the store: when all
 * of them that were not forgotten have signed in since PostgreSQL was started.
 */
export class SharedStore extends Context.Service<
  SharedStore,
  {
    /** `sinceMs` by the monotonic clock. */
    readonly status: Effect.Effect<SharedStoreStatus>
    /** Has one whenever there may be something to read: also after each new connection. */
    readonly news: Queue.Dequeue<void>
    /**
     * Comes before all else on each new connection; fails where a site has another number than before, or several are said to
     * be one. Where nobody has written anything for 24 h the first one since a start
     * of PostgreSQL finds all mappings gone: who gave them tells them again.
     */
    readonly signIn: (gateway: SignIn) => Effect.Effect<SignedIn, SharedStoreError>
    /**
     * Names that the gateway gives or uses, and slots of its own that it releases. At most `maxWritten`; of several changes of one slot the last one counts. Durable
     * before it returns, all of them or none, but for those in conflict.
     */
    readonly write: (changes: ReadonlyArray<MappingChange>) => Effect.Effect<ReadonlyArray<Conflict>, SharedStoreError>
    /** The first of these blocks that is nobody's; `null`: none is left, or none may be given now. */
    readonly lease: (gateway: number, blocks: SlotSpan) => Effect.Effect<number | null, SharedStoreError>
    /** `extend` is given all entries and yields those to be added, unless none may be added now. */
    readonly extendDirectory: (
      extend: (known: ReadonlyMap<string, number>) => ReadonlyArray<DirectoryEntry>
    ) => Effect.Effect<void, SharedStoreError>
    /**
     * Nothing waits for the gateway any more, unless it is connected (`Present`); whatever it has stays its own. It is taken
     * back where it comes all the same.
     */
    readonly forget: (gateway: number) => Effect.Effect<"Forgotten" | "Present" | "Unknown", SharedStoreError>
    readonly read: (gateway: number, after: Cursor | null) => Effect.Effect<SharedPage, SharedStoreError>
    /** Has one whenever there may be another policy, as `news` has. */
    readonly policyNews: Queue.Dequeue<void>
    /** The newest policy; `null`: there is none. A gateway needs not to have signed in. */
    readonly lookAtPolicy: (look: PolicyLook) => Effect.Effect<OfferedPolicy | null, SharedStoreError>
  }
>()("sallyport/shared/SharedStore") {}
