/** What `/proc/net/ipv6_route` says about ways out of the host. Pure. */
import { type Network, words } from "../packet/address.ts"

const reject = 0x200
const anycast = 0x100000
const local = 0x80000000

/** Where the routes in these whole lines lead out of the host, by other devices than the gateway's own. */
export const waysOut = (lines: string, device: string): ReadonlyArray<Network> =>
  lines.split("\n").flatMap((line) => {
    const fields = line.trim().split(/\s+/)
    const [destination, length, , , , , , , flags, dev] = fields
    if (fields.length !== 10 || dev === device || dev === "lo") return []
    if ((Number.parseInt(flags!, 16) & (reject | anycast | local)) !== 0) return []
    // Link-local and multicast routes are on every device.
    if (/^(?:fe[89ab]|ff)/.test(destination!)) return []
    const word = (i: number): number => Number.parseInt(destination!.slice(8 * i, 8 * i + 8), 16) | 0
    return [{ address: words(word(0), word(1), word(2), word(3)), prefix: Number.parseInt(length!, 16) }]
  })
