import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"

export interface FilesOfNames {
  /** Canonical addresses that the hosts file has for a name (lower case, no trailing dot). */
  readonly hosts: (domain: string) => ReadonlyArray<string> | undefined
  /** The name that the hosts file has for an address (canonical). */
  readonly hostOf: (address: string) => string | undefined
  /** The domain of a block list that the name is, or is below; `undefined`: none. */
  readonly blocked: (domain: string) => string | undefined
}

export const noNameFiles: FilesOfNames = { blocked: () => undefined, hosts: () => undefined, hostOf: () => undefined }

/** What files of the gateway's host say of names: its hosts file, and lists of names that are not answered. */
export class NameFiles extends Context.Service<
  NameFiles,
  FilesOfNames & {
    /** Other block lists (paths) from now on. Nobody waits for a file: a new one counts once it is read. */
    readonly setLists: (block: ReadonlyArray<string>) => void
    /**
     * The same with these block lists: one in memory is as it is, another is read for it. Where one does not answer, no
     * further one is read.
     */
    readonly withLists: (block: ReadonlyArray<string>) => Effect.Effect<FilesOfNames>
    /** By name: `block_names` on the lists now, `block_bad_lines` that make no sense, `block_left_out` for want of room. */
    readonly counters: Effect.Effect<Readonly<Record<string, number>>>
  }
>()("sallyport/host/NameFiles") {}
