import type { ResolutionReason } from "./Resolver.ts"

/** Addresses are canonical texts, sorted. Times are monotonic milliseconds. */
export type NameState =
  | {
      readonly _tag: "Resolving"
      readonly since: number
      readonly attempts: number
      /** The resolver set answers nobody at present. */
      readonly silent: boolean
    }
  | {
      readonly _tag: "Resolved"
      readonly addresses: ReadonlyArray<string>
      readonly since: number
      /** When the answer's TTL ends. */
      readonly staleAt: number
      /** Why the last refresh failed, while the last good answer is still served. */
      readonly failure: ResolutionReason | null
    }
  | {
      readonly _tag: "Unresolved"
      readonly reason: ResolutionReason
      readonly attempts: number
      readonly since: number
      /** When the TTL of a negative answer ends (NXDOMAIN, NODATA); equal to `since` for failures. */
      readonly negativeUntil: number
    }

/** A resolver said that the name does not exist, or has no address: as good as an address until a lookup says otherwise. */
export const isNegative = (state: NameState): boolean =>
  state._tag === "Unresolved" && (state.reason._tag === "NameNotFound" || state.reason._tag === "NoAddresses")

/** The usable addresses; empty when there are none. */
export const addressesOf = (state: NameState): ReadonlyArray<string> =>
  state._tag === "Resolved" ? state.addresses : []
