/** `node caresMain.ts NAME`: asks c-ares for both families, prints the addresses, and opens the page at the first one. */
import { Resolver } from "node:dns/promises"
import { isIPv6 } from "node:net"
import process from "node:process"

const [name = ""] = process.argv.slice(2)
const resolver = new Resolver({ timeout: 5_000, tries: 4 })
const families = await Promise.allSettled([resolver.resolve4(name), resolver.resolve6(name)])
const addresses = families.flatMap((family) => (family.status === "fulfilled" ? family.value : []))
for (const family of families) if (family.status === "rejected") console.log(String(family.reason))
for (const address of addresses) console.log(address)
const [first] = addresses
if (first !== undefined) {
  const page = await fetch(`http://${isIPv6(first) ? `[${first}]` : first}/`, { signal: AbortSignal.timeout(20_000) })
  console.log(await page.text())
}
