import { formatAddress, words } from "../../packet/address.ts"

/** Proxy IPs of a name: that many of each family. */
const perFamily = 4
const hosts = 2 ** 21
/** 100.100.111.0/24 belongs to clients' own DNS servers. */
const reservedFrom = (4 << 16) | (111 << 8)
const reservedTo = reservedFrom + 255

/** Hands out the addresses of 100.96.0.0/11 and fd00:2021:1111:8000::/107 in step, one after the other. */
export class ProxyPool {
  private next = 1

  /** The next four of each family, IPv4 first; `undefined` when none are left. */
  take(): ReadonlyArray<string> | undefined {
    const chosen: Array<number> = []
    while (chosen.length < perFamily) {
      if (this.next >= hosts - 1) return undefined
      if (this.next < reservedFrom || this.next > reservedTo) chosen.push(this.next)
      this.next++
    }
    return [
      ...chosen.map((host) => formatAddress(words(0, 0, 0xffff, (0x64600000 + host) | 0))),
      ...chosen.map((host) => formatAddress(words(0xfd002021 | 0, 0x11118000, 0, host)))
    ]
  }
}
