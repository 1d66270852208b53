/** Load generator: clients that connect and then only do what WireGuard itself does. Tells when all are connected. */
import { readFileSync } from "node:fs"
import { setTimeout as sleep } from "node:timers/promises"
import { Fleet, type FleetJob, paced, ticking } from "./fleet.ts"

const job = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as FleetJob
const { rate = 200, seconds = 60 } = job.parameters
const fleet = await Fleet.open(job)
await ticking(
  fleet,
  (async () => {
    await paced(fleet.members.length, rate, (i) => fleet.members[i]!.connect())
    await sleep(seconds * 1_000)
  })()
)
fleet.close()
process.stdout.write(JSON.stringify({ connected: fleet.members.filter((m) => m.connectedAt > 0).length }))
