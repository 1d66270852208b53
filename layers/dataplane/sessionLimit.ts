import { readFileSync } from "node:fs"

/** Sessions of the whole gateway unless connection tracking allows fewer. */
const most = 1_048_576
const conntrackMax = "/proc/sys/net/netfilter/nf_conntrack_max"

/** How many flows a gateway holds at a time; masqueraded ones take a place in the kernel's connection tracking each. */
export const sessionLimit = (masquerade: boolean): number => (masquerade ? Math.min(most, trackedSessions()) : most)

/** A fifth of the table is left to the host. */
const trackedSessions = (): number => {
  try {
    return Math.max(1_024, Math.floor(Number(readFileSync(conntrackMax, "utf8")) * 0.8)) || most
  } catch {
    // Connection tracking is not loaded yet: it sizes itself by the host's memory.
    return most
  }
}
