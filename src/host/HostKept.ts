/** How the host has kept to what was set up on it. */
export interface HostKept {
  /** Things that were put right since the start. */
  readonly repaired: number
  /** How often the TUN device was made again. */
  readonly devicesMade: number
  /** What was put right last, and when (monotonic milliseconds). */
  readonly last: { readonly at: number; readonly what: ReadonlyArray<string> } | null
  /** What is wrong and cannot be put right: what, why and the fix; since when (monotonic milliseconds). */
  readonly wrong: { readonly since: number; readonly what: ReadonlyArray<string> } | null
}
