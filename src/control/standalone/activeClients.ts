/** Which clients a gateway that starts again calls by itself: those that were active when it ended. Pure. */
import type { StoredClient } from "../../host/StateStore.ts"

/** Heard of this long before the last one that was. */
const activeMs = 180_000

/**
 * Measured against the last sign of life of any client, not against `now` (epoch milliseconds): the clock may have been
 * set meanwhile. A row from when it was ahead counts as now.
 */
export const activeClients = (
  rows: ReadonlyArray<Pick<StoredClient, "client" | "lastSeenAt">>,
  now: number
): ReadonlySet<string> => {
  const seenAt = rows.map(({ lastSeenAt }) => Math.min(lastSeenAt, now))
  const last = seenAt.reduce((a, b) => Math.max(a, b), 0)
  return new Set(rows.filter((_, i) => last - seenAt[i]! <= activeMs && seenAt[i]! > 0).map(({ client }) => client))
}
