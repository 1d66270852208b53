/**
 * The version told to a portal, which derives from it what goes with what: a gateway of minor version n is given to
 * clients of n−1, n and n+1 (docs/portal-protocol.md, "Versions"). 1.5 is in reach of clients 1.4, 1.5 and 1.6, and 1.5.2
 * is the last version whose messages are those of generation B, which are ours.
 */
export const defaultVersion = "1.5.2"

/** What our client announces: the last of those that speak as it does. */
export const clientVersions = { A: "1.3.7", B: "1.4.4", C: "1.6.0" } as const

export const isVersion = (text: string): boolean => /^\d{1,4}\.\d{1,4}\.\d{1,4}$/.test(text)
