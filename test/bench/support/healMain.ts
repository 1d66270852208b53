/**
 * Load generator: clients that ask names which nobody can resolve yet, and then knock at their proxy IPs until an answer
 * comes through. Prints when each name's first answer came.
 */
import { readFileSync } from "node:fs"
import { setTimeout as sleep } from "node:timers/promises"
import { decode } from "../../../src/dns/decode.ts"
import { isMalformed } from "../../../src/dns/message.ts"
import { encodeQuery } from "../../../src/dns/query.ts"
import { recordType } from "../../../src/dns/registry.ts"
import { buildUdp } from "../../support/packets.ts"
import { clock, Fleet, type FleetJob, paced } from "./fleet.ts"

const job = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as FleetJob
const { everyMs = 250, names = 1_000, seconds = 60 } = job.parameters
const fleet = await Fleet.open(job)
const memberOf = (name: number) => fleet.members[name % fleet.members.length]!

const dnsPort = 53
const echoPort = 7
/** The inner source port says which name a packet is about. */
const firstPort = 20_000
const knocks: Array<Uint8Array | undefined> = []
const unreachableAt = new Float64Array(names)
const healedAt = new Float64Array(names)

const learn = (name: number, payload: Uint8Array): void => {
  const message = decode(payload)
  if (isMalformed(message)) return
  const [first] = message.answers.flatMap(({ data }) => (data._tag === "Address" ? [data.address] : []))
  if (first === undefined) return
  knocks[name] = buildUdp({
    source: memberOf(name).tunnel4,
    destination: first,
    sourcePort: firstPort + name,
    destinationPort: echoPort,
    payload: new Uint8Array(16)
  })
}

for (const member of fleet.members) {
  member.onPacket = (inner, at) => {
    const protocol = inner[9]!
    if (protocol === 1) {
      // ICMP unreachable: the quoted packet's source port.
      const name = ((inner[48]! << 8) | inner[49]!) - firstPort
      if (name >= 0 && name < names) unreachableAt[name] = at
      return
    }
    const name = ((inner[22]! << 8) | inner[23]!) - firstPort
    if (protocol !== 17 || name < 0 || name >= names) return
    const length = (inner[2]! << 8) | inner[3]!
    if (((inner[20]! << 8) | inner[21]!) === dnsPort) learn(name, inner.slice(28, length))
    else if (healedAt[name] === 0) healedAt[name] = at
  }
}

await paced(fleet.members.length, 100, (i) => fleet.members[i]!.connect())
await sleep(500)
// A question may get lost like any datagram: asked again each second.
for (let round = 0; round < 10 && knocks.filter((knock) => knock !== undefined).length < names; round++) {
  await paced(names, 500, (name) => {
    if (knocks[name] !== undefined) return
    const member = memberOf(name)
    const payload = encodeQuery({ id: name, domain: `n${name}.svc.corp.internal`, type: recordType.A }, true)!
    const source = { source: member.tunnel4, sourcePort: firstPort + name }
    member.send(buildUdp({ ...source, destination: "100.64.0.1", destinationPort: dnsPort, payload }))
  })
  await sleep(500)
}
const asked = knocks.filter((knock) => knock !== undefined).length

// Each name at its own moment, so that the knocks are no burst.
const end = clock() + seconds * 1_000
while (clock() < end && healedAt.some((at) => at === 0)) {
  await paced(names, (names * 1_000) / everyMs, (name) => {
    const knock = knocks[name]
    if (knock !== undefined && healedAt[name] === 0) memberOf(name).send(knock)
  })
}
fleet.close()
process.stdout.write(
  JSON.stringify({
    asked,
    refused: unreachableAt.filter((at) => at > 0).length,
    healed: Array.from(healedAt).filter((at) => at > 0)
  })
)
