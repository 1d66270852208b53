/** How the host treats the gateway's own traffic, as far as it can be counted. */
export interface FirewallReport {
  /** `false`: the gateway has no table to count in (`firewall: off`). */
  readonly judged: boolean
  /** Why it cannot be counted just now, with the fix. */
  readonly uncounted: string | null
  /** What is taken away just now, the oldest first. `since` and `latest`: when the first and the last packet was missed, monotonic milliseconds. */
  readonly lost: ReadonlyArray<{
    readonly what: string
    readonly since: number
    readonly latest: number
    readonly packets: number
    readonly likely: string
    readonly fix: string
  }>
  /** Since the start: how often somebody was found to take packets away, and how often that has ended. */
  readonly counters: { readonly lost: number; readonly healed: number }
}
