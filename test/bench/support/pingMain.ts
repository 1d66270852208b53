/** Load generator: every client connects, then the first one pings the LAN through its tunnel, so many times a second. */
import { readFileSync } from "node:fs"
import { setTimeout as sleep } from "node:timers/promises"
import { labAddresses } from "../../../src/lab/demo/Lab.ts"
import { buildEcho } from "../../support/packets.ts"
import { Fleet, type FleetJob, paced, ticking } from "./fleet.ts"

const job = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as FleetJob
const { perSecond = 500, rate = 200, seconds = 60 } = job.parameters
const fleet = await Fleet.open(job)
const [first] = fleet.members
let answered = 0
let sent = 0
first!.onPacket = () => void answered++
await ticking(
  fleet,
  (async () => {
    await paced(fleet.members.length, rate, (i) => fleet.members[i]!.connect())
    await sleep(1_000)
    const echo = { source: first!.tunnel4, destination: labAddresses.inner.origin.v4, identifier: 1 }
    await paced(seconds * perSecond, perSecond, () => {
      sent++
      first!.send(buildEcho({ ...echo, sequence: sent & 0xffff }))
    })
    await sleep(1_000)
  })()
)
fleet.close()
process.stdout.write(
  JSON.stringify({ connected: fleet.members.filter((m) => m.connectedAt > 0).length, sent, answered })
)
