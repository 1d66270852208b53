/** The table in which the host's kernel tracks connections. Pure. */

/** Entries. */
export interface ConnectionTable {
  readonly used: number
  readonly most: number
}

/** The host drops what it has no room to track, first of all what begins. */
export const isFull = ({ most, used }: ConnectionTable): boolean => most > 0 && used >= most * 0.95

/** What makes room. */
export const enlarge = ({ most }: ConnectionTable): string =>
  `run "sysctl -w net.netfilter.nf_conntrack_max=${2 * most}"`
