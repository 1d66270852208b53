/**
 * The test suite with each offload off alone, all off and all on, one after the other: `npm run test:switches`; name
 * projects or files to run less of it: `npm run test:switches -- --project fast`, `npm run test:switches -- test/system/clients.test.ts`.
 * That a switch is really off is what the counters say in `test/system/offloads.test.ts`.
 */
import { spawnSync } from "node:child_process"
import process from "node:process"

const modes: Readonly<Record<string, string>> = {
  "all on": "all",
  "all off": "none",
  "without gso": "gro,tso,join,simd",
  "without gro": "gso,tso,join,simd",
  "without tso": "gso,gro,simd",
  "without join": "gso,gro,tso,simd",
  "without simd": "gso,gro,tso,join"
}
const failed: Array<string> = []
for (const [name, switches] of Object.entries(modes)) {
  process.stdout.write(`\n== ${name} (SALLYPORT_OFFLOADS=${switches})\n`)
  const { status } = spawnSync("npx", ["vitest", "run", "--reporter=dot", ...process.argv.slice(2)], {
    stdio: "inherit",
    env: { ...process.env, SALLYPORT_OFFLOADS: switches }
  })
  if (status !== 0) failed.push(name)
}
const count = Object.keys(modes).length
process.stdout.write(failed.length === 0 ? `\nall ${count} ways passed\n` : `\nfailed ${failed.join(", ")}\n`)
process.exitCode = failed.length === 0 ? 0 : 1
