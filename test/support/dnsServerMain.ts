/**
 * The scripted DNS server as a process of its own, for namespaces:
 * `node test/support/dnsServerMain.ts --listen 10.0.0.53:53 --zone zone.json`.
 * Prints `listening ADDRESS:PORT`, one `query N TYPE NAME TRANSPORT` line per query and `zone` when the file was read again.
 */
import * as fs from "node:fs"
import * as timers from "node:timers/promises"
import { parseArgs } from "node:util"
import type { DnsZone } from "./dnsServer.ts"
import { startDnsServer } from "./dnsServer.ts"

const { values } = parseArgs({ options: { listen: { type: "string" }, zone: { type: "string" } } })
const listen = /^\[?(.+?)\]?:([0-9]+)$/.exec(values.listen ?? "")
const path = values.zone
if (listen === null || path === undefined) {
  process.stderr.write("usage: dnsServerMain.ts --listen ADDRESS:PORT --zone FILE\n")
  process.exit(2)
}

const print = (line: string): void => void process.stdout.write(`${line}\n`)

let text = fs.readFileSync(path, "utf8")
let count = 0
const server = await startDnsServer({
  address: listen[1]!,
  port: Number(listen[2]),
  // oxlint-disable-next-line no-unsafe-type-assertion -- a test's own file
  zone: JSON.parse(text) as DnsZone,
  onQuery: (query) => print(`query ${++count} ${query.type} ${query.name} ${query.transport}`)
})
print(`listening ${server.address}:${server.port}`)

for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => process.exit(0))

// Content, not mtime: a test may write twice within one tick of the file system's clock.
for (;;) {
  await timers.setTimeout(50)
  try {
    const next = fs.readFileSync(path, "utf8")
    if (next === text) continue
    // oxlint-disable-next-line no-unsafe-type-assertion -- a test's own file
    server.setZone(JSON.parse(next) as DnsZone)
    text = next
    print("zone")
  } catch {
    // Half written: the next look finds it whole.
  }
}
