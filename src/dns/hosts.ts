import { formatAddress, parseAddress } from "../packet/address.ts"
import { canonicalName } from "./name.ts"

/** The names of a hosts(5) file, lower case, with their addresses in the file's order. Lines that make no sense are skipped. */
export const parseHosts = (text: string): ReadonlyMap<string, ReadonlyArray<string>> => {
  const hosts = new Map<string, Array<string>>()
  for (const line of text.split("\n")) {
    const [first, ...names] = line.replace(/#.*/, "").trim().split(/\s+/)
    const address = parseAddress(first ?? "")
    if (address === undefined) continue
    const canonical = formatAddress(address)
    for (const name of names) {
      const key = canonicalName(name)
      const addresses = hosts.get(key)
      if (addresses === undefined) hosts.set(key, [canonical])
      else if (!addresses.includes(canonical)) addresses.push(canonical)
    }
  }
  return hosts
}

/** The name of each address, as asked backwards: the first one that has it. */
export const hostNames = (hosts: ReadonlyMap<string, ReadonlyArray<string>>): ReadonlyMap<string, string> => {
  const names = new Map<string, string>()
  for (const [name, addresses] of hosts) {
    for (const address of addresses) if (!names.has(address)) names.set(address, name)
  }
  return names
}
