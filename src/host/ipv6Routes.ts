/** What `/proc/net/ipv6_route` says about ways out of the host. Pure. */

const reject = 0x200
const anycast = 0x100000
const local = 0x80000000

/** Whether one of these whole lines is a route that leads out of the host, by another device than the gateway's own. */
export const someLeadsOut = (lines: string, device: string): boolean =>
  lines.split("\n").some((line) => {
    const fields = line.trim().split(/\s+/)
    const [destination, , , , , , , , flags, dev] = fields
    if (fields.length !== 10 || dev === device || dev === "lo") return false
    if ((Number.parseInt(flags!, 16) & (reject | anycast | local)) !== 0) return false
    // Link-local and multicast routes are on every device.
    return !/^(?:fe[89ab]|ff)/.test(destination!)
  })
