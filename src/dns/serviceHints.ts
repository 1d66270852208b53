/** The address hints of SVCB and HTTPS records (RFC 9460 §2.2, §7.3): clients may connect to them without asking for the name. */
import { formatAddress, readIpv4, readIpv6, words } from "../packet/address.ts"
import { concat, read16 } from "../packet/bytes.ts"
import { recordType } from "./registry.ts"
import type { TunnelAnswer } from "./tunnelAnswer.ts"

/** Whether records of the type may have such hints. */
export const mayHaveHints = (type: number): boolean => type === recordType.HTTPS || type === recordType.SVCB

/** Where their hints would lead clients past the proxy IPs. */
export const noHints: TunnelAnswer = { _tag: "NoData", ttl: 60 }

const key = { mandatory: 0, ipv4hint: 4, ipv6hint: 6 } as const

/**
 * RDATA without the hints of which `keep` refuses an address; `null` when nothing may be left of the record: it is
 * malformed, or demands a hint that goes.
 */
export const filterHints = (rdata: Uint8Array, keep: (address: string) => boolean): Uint8Array | null => {
  let at = endOfTarget(rdata)
  if (at < 0) return null
  const parts = [rdata.subarray(0, at)]
  const gone = new Set<number>()
  let mandatory: Uint8Array = new Uint8Array(0)
  while (at < rdata.length) {
    const end = at + 4 > rdata.length ? Infinity : at + 4 + read16(rdata, at + 2)
    if (end > rdata.length) return null
    const code = read16(rdata, at)
    const value = rdata.subarray(at + 4, end)
    if (code === key.mandatory) mandatory = value
    if (hintsOf(code, value).every(keep)) parts.push(rdata.subarray(at, end))
    else gone.add(code)
    at = end
  }
  for (let i = 0; i + 2 <= mandatory.length; i += 2) if (gone.has(read16(mandatory, i))) return null
  return gone.size === 0 ? rdata : concat(parts)
}

/** Behind the priority and the target name, which is never compressed; -1 when there is no such place. */
const endOfTarget = (rdata: Uint8Array): number => {
  for (let at = 2; at < rdata.length; at += 1 + rdata[at]!) {
    if (rdata[at]! > 63) return -1
    if (rdata[at] === 0) return at + 1
  }
  return -1
}

const hintsOf = (code: number, value: Uint8Array): ReadonlyArray<string> => {
  const size = code === key.ipv4hint ? 4 : code === key.ipv6hint ? 16 : 0
  if (size === 0) return []
  const hints: Array<string> = []
  const address = words()
  for (let at = 0; at + size <= value.length; at += size) {
    if (size === 4) readIpv4(value, at, address)
    else readIpv6(value, at, address)
    hints.push(formatAddress(address))
  }
  return hints
}
