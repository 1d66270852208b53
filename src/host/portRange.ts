/** Ports from the first to the last; none when `from` is above `to`. */
export interface PortRange {
  readonly from: number
  readonly to: number
}

/**
 * The ports that masqueraded flows may leave from: the longest run without anything that listens, since a flow on a
 * listener's port would take that port's packets from it.
 */
export const freePortRange = (listening: Iterable<number>): PortRange => longestRun(listening, lowest, 65_535)

/** The same among ports that only root may bind, which some servers (NFS, rsh) ask for. */
export const freePrivilegedRange = (listening: Iterable<number>): PortRange =>
  longestRun(listening, lowestPrivileged, 1_023)

const longestRun = (listening: Iterable<number>, lowest: number, highest: number): PortRange => {
  const taken = [...new Set(listening)].filter((port) => port >= lowest && port <= highest).sort((a, b) => a - b)
  let best = { from: lowest, to: lowest - 1 }
  let from = lowest
  for (const port of [...taken, highest + 1]) {
    if (port - from > best.to - best.from + 1) best = { from, to: port - 1 }
    from = port + 1
  }
  return best
}

/** Below are the ports that services are usually given. */
const lowest = 10_240
/** As the kernel's own clients of NFS choose them (sunrpc.min_resvport). */
const lowestPrivileged = 665
