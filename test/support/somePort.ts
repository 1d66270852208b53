import { randomInt } from "node:crypto"

/**
 * For a program that cannot choose one itself, or that finds its own again later: below those that Linux gives to whoever
 * names none (`net.ipv4.ip_local_port_range`). Another one that was told a port may have it: then with a new one.
 */
export const somePort = (): number => randomInt(20_000, 32_000)
