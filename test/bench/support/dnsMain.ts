/**
 * Load generator: WireGuard clients that ask a DNS server through the tunnel, so many questions under way at a time. Prints
 * `"ready"` when all are connected; for each line of input, an `Asking`, it asks and prints an `Asked`. At the lowest
 * priority: its clients stand for other machines.
 */
import { readFileSync } from "node:fs"
import { setPriority } from "node:os"
import { createInterface } from "node:readline"
import { setTimeout as sleep } from "node:timers/promises"
import { encodeQuery } from "../../../src/dns/query.ts"
import { recordType } from "../../../src/dns/registry.ts"
import { buildUdp } from "../../support/packets.ts"
import type { Asked, Asking } from "./dnsLoad.ts"
import { clock, Fleet, type FleetJob, type Member, paced, ticking } from "./fleet.ts"

const firstPort = 20_000
/** A question without an answer for this long is lost. */
const patienceMs = 2_000
const udpHeaders = 28

interface Slot {
  readonly port: number
  /** Of the question under way. */
  id: number
  at: number
}

setPriority(19)
const job = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as FleetJob
const fleet = await Fleet.open(job)
const { members } = fleet
await ticking(
  fleet,
  paced(members.length, 200, (i) => members[i]!.connect())
)
await sleep(500)
let nextId = 0
let fresh = 0

const load = async ({ clients, count, kind, names, seconds, server, window, zone }: Asking): Promise<Asked> => {
  const slots = Array.from({ length: window }, (_, i): Slot => ({ port: firstPort + i, id: -1, at: 0 }))
  const times: Array<number> = []
  let [wrong, lost, asked, over] = [0, 0, 0, false]
  const begun = clock()

  const ask = (slot: Slot): void => {
    if (over || asked === count) return
    const turn = asked++
    const member: Member = members[turn % clients]!
    const label = kind === "fresh" ? `f${process.pid}-${fresh++}` : `k${Math.floor(turn / clients) % names}`
    slot.id = nextId = (nextId + 1) & 0xffff
    const payload = encodeQuery({ id: slot.id, domain: `${label}.${zone}`, type: recordType.A }, true)!
    slot.at = member.send(
      buildUdp({ source: member.tunnel4, destination: server, sourcePort: slot.port, destinationPort: 53, payload })
    )
  }
  const hear = (packet: Uint8Array, at: number): void => {
    const slot = slots[((packet[22]! << 8) | packet[23]!) - firstPort]
    if (slot === undefined || slot.id !== ((packet[udpHeaders]! << 8) | packet[udpHeaders + 1]!)) return
    const [code, answers] = [packet[udpHeaders + 3]! & 15, (packet[udpHeaders + 6]! << 8) | packet[udpHeaders + 7]!]
    slot.id = -1
    if (code === 0 && answers > 0) times.push(at - slot.at)
    else wrong++
    ask(slot)
  }
  for (const member of members) member.onPacket = hear
  for (const slot of slots) ask(slot)
  const until = (): boolean => {
    if (count !== undefined) return slots.every(({ id }) => id < 0)
    return kind === "each" ? asked >= clients * names : clock() - begun >= seconds * 1_000
  }
  while (!until()) {
    await sleep(10)
    fleet.tick()
    for (const slot of slots) {
      if (slot.id < 0 || clock() - slot.at < patienceMs) continue
      lost++
      slot.id = -1
      ask(slot)
    }
  }
  over = true
  const took = (clock() - begun) / 1_000
  await sleep(300)
  return { perSecond: times.length / took, times, wrong, lost }
}

process.stdout.write(`"ready"\n`)
for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await load(JSON.parse(line) as Asking))}\n`)
}
fleet.close()
