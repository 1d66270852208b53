/** The four networks of the gateway, and which of their addresses may be proxy IPs. */
import { contains, parseNetwork, type Words } from "../packet/address.ts"

/** Addresses that clients keep for their own DNS servers; never a proxy IP. */
export const reservedNetworks: ReadonlyArray<string> = ["100.100.111.0/24", "fd00:2021:1111:8000:100:100:111:0/120"]

/** Decides which addresses may be proxy IPs. Networks that cannot be read admit nothing. */
export const proxyMembership = (
  networks: ReadonlyArray<string>,
  reserved: ReadonlyArray<string> = reservedNetworks
): ((address: Readonly<Words>) => boolean) => {
  const inside = networks.map((n) => parseNetwork(n)).filter((n) => n !== undefined)
  const outside = reserved.map((n) => parseNetwork(n)).filter((n) => n !== undefined)
  return (address) => inside.some((n) => contains(n, address)) && !outside.some((n) => contains(n, address))
}
