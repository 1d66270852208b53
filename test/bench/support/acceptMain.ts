/** Load generator: new clients at a steady rate, each asking a fresh name as soon as its handshake is done. */
import { readFileSync } from "node:fs"
import { setTimeout as sleep } from "node:timers/promises"
import { decode } from "../../../src/dns/decode.ts"
import { isMalformed } from "../../../src/dns/message.ts"
import { encodeQuery } from "../../../src/dns/query.ts"
import { recordType } from "../../../src/dns/registry.ts"
import { buildUdp } from "../../support/packets.ts"
import { clock, Fleet, type FleetJob, paced, ticking } from "./fleet.ts"

const job = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as FleetJob
const { rate = 200 } = job.parameters
const fleet = await Fleet.open(job)

const askedAt = new Float64Array(job.clients.length)
const answers: Array<Uint8Array | undefined> = []
const answeredAt = new Float64Array(job.clients.length)
for (const [i, member] of fleet.members.entries()) {
  const query = encodeQuery({ id: i, domain: `n${i}.svc.corp.internal`, type: recordType.A }, true)!
  const packet = buildUdp({
    source: member.tunnel4,
    destination: "100.64.0.1",
    sourcePort: 20_000,
    destinationPort: 53,
    payload: query
  })
  // In a turn of its own, so that sealing it does not delay the reading of others' answers.
  member.onConnected = () => void (askedAt[i] = member.send(packet))
  member.onPacket = (inner, at) => {
    if (answeredAt[i] !== 0) return
    answeredAt[i] = at
    answers[i] = inner.slice()
  }
}
await sleep(500)
const begun = clock()
const late = await ticking(
  fleet,
  paced(fleet.members.length, rate, (i) => fleet.members[i]!.connect())
)
await sleep(2_000)
fleet.close()

/** Whether the datagram is the name's answer with proxy IPs. */
const isProxyAnswer = (inner: Uint8Array | undefined, i: number): boolean => {
  if (inner === undefined) return false
  const length = (inner[2]! << 8) | inner[3]!
  const message = decode(inner.subarray(28, length))
  if (isMalformed(message) || message.id !== i || message.rcode !== 0) return false
  const proxies = message.answers.flatMap(({ data }) => (data._tag === "Address" ? [data.address] : []))
  return proxies.length > 0 && proxies.every((address) => /^100\.(9[6-9]|1[01]\d|12[0-7])\./.test(address))
}

/** Seconds since the first client, and milliseconds. */
type Sample = readonly [at: number, took: number]
const sample = (from: number, to: number): Sample => [(from - begun) / 1_000, to - from]
const handshakes = fleet.members.flatMap((m) => (m.connectedAt === 0 ? [] : [sample(m.initiatedAt, m.connectedAt)]))
const queries = fleet.members.flatMap((_, i) =>
  isProxyAnswer(answers[i], i) ? [sample(askedAt[i]!, answeredAt[i]!)] : []
)
process.stdout.write(JSON.stringify({ handshakes, queries, late }))
