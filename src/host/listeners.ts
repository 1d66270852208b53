/** Who waits for others on the host, and whether that leaves room for one more. Pure. */
import { equal, formatAddress, isIpv4, isUnspecified, parseAddress } from "../packet/address.ts"

export interface Listener {
  /** Canonical text. */
  readonly address: string
  readonly port: number
}

/** Of a `/proc/net/{tcp,udp}{,6}` table, on which a socket waits for anybody: TCP LISTEN (0A), UDP unconnected (07). */
export const listenersOf = (table: string): ReadonlyArray<Listener> =>
  table.split("\n").flatMap((line) => {
    const match = /^\s*\d+: ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) [0-9A-F]+:[0-9A-F]{4} (0A|07) /.exec(line)
    return match === null ? [] : [{ address: addressOf(match[1]!), port: Number.parseInt(match[2]!, 16) }]
  })

/** Words of 32 bits in the order of the processors that the gateway runs on, the lowest byte first. */
const addressOf = (hex: string): string => {
  const bytes = hex.match(/.{8}/g)!.flatMap((word) => word.match(/../g)!.toReversed())
  const text =
    bytes.length === 4
      ? bytes.map((byte) => Number.parseInt(byte, 16)).join(".")
      : bytes.map((byte, i) => (i % 2 === 0 && i > 0 ? `:${byte}` : byte)).join("")
  return formatAddress(parseAddress(text)!)
}

/** Whether one of them is in the way of a listener there. `host` may be a name: then any address is. */
export const isTaken = (
  listeners: ReadonlyArray<Listener>,
  { host, port }: { readonly host: string; readonly port: number }
): boolean => listeners.some((one) => one.port === port && meet(one.address, host))

const meet = (one: string, other: string): boolean => {
  const [a, b] = [parseAddress(one), parseAddress(other)]
  if (a === undefined || b === undefined) return true
  const covers = (wide: typeof a, narrow: typeof a) => isUnspecified(wide) && (!isIpv4(wide) || isIpv4(narrow))
  return equal(a, b) || covers(a, b) || covers(b, a)
}
