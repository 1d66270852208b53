/** What VRRP says of a router: only as `MASTER` it has the virtual address. The last two are keepalived's own words. */
export const vrrpStates = ["MASTER", "BACKUP", "FAULT", "STOP", "DELETED"] as const
export type VrrpState = (typeof vrrpStates)[number]

/**
 * The state among the words that a program which moves the address hands over: `STATE`, or behind it all, as keepalived
 * does, `INSTANCE NAME STATE PRIORITY` or `GROUP NAME STATE PRIORITY`.
 */
export const vrrpStateIn = (words: ReadonlyArray<string>): VrrpState | undefined => {
  const word = words.length === 1 ? words[0] : isOfKeepalived(words) ? words[2] : undefined
  return vrrpStates.find((state) => state === word)
}

const isOfKeepalived = ([kind, , , priority = "0", ...more]: ReadonlyArray<string>): boolean =>
  (kind === "INSTANCE" || kind === "GROUP") && /^\d+$/.test(priority) && more.length === 0
