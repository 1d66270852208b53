/** Interleaved flows with everything that real traffic has, from a seed: many packets per run at little cost. */
import { buildFragment, buildTcp, buildUdp, dataOf } from "./packets.ts"

export interface Random {
  /** 0 … below − 1. */
  readonly below: (limit: number) => number
  readonly chance: (probability: number) => boolean
  readonly pick: <A>(from: ReadonlyArray<A>) => A
  readonly bytes: (length: number) => Uint8Array
}

/** Mulberry32: the same seed gives the same traffic. */
export const makeRandom = (seed: number): Random => {
  let state = seed | 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
  const below = (limit: number): number => Math.floor(next() * limit)
  return {
    below,
    chance: (probability) => next() < probability,
    pick: (from) => from[below(from.length)]!,
    bytes: (length) => Uint8Array.from({ length }, () => below(256))
  }
}

/** `tcpOptions` of the usual kinds and some that nobody has heard of. */
const optionSets: ReadonlyArray<ReadonlyArray<number>> = [
  [],
  [1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 7],
  [1, 1, 5, 10, 0, 0, 1, 0, 0, 0, 2, 0],
  [253, 6, 1, 2, 3, 4],
  Array.from({ length: 40 }, (_, i) => (i === 0 ? 254 : i === 1 ? 40 : i))
]

const fin = 0x01
const psh = 0x08
const ack = 0x10
const cwr = 0x80

/** A flow's packets, one at a time, mostly such that they can be joined. */
export class Flow {
  private readonly random: Random
  private readonly v6: boolean
  private readonly udp: boolean
  private readonly size: number
  private readonly source: string
  private readonly destination: string
  private readonly sourcePort: number
  private readonly dontFragment: boolean
  private sequence: number
  private acknowledgement = 1_000
  private window = 500
  private options: Uint8Array
  private identification: number

  /** Flows 2n and 2n + 1 share their addresses. */
  constructor(random: Random, index: number) {
    this.random = random
    this.v6 = random.chance(0.5)
    this.udp = random.chance(0.4)
    this.size = random.pick([1, 2, 7, 100, 333, 1_220])
    const host = (index >> 1) + 1
    this.source = this.v6 ? `fd00::${host}` : `10.0.0.${host}`
    this.destination = this.v6 ? "fd01::1" : "10.1.0.1"
    this.sourcePort = 1_000 + index
    this.dontFragment = random.chance(0.5)
    this.sequence = random.pick([5, 0xffffff00])
    this.options = Uint8Array.from(random.pick(optionSets))
    this.identification = random.pick([0, 0xfff0])
  }

  /** Usually one packet; a datagram in fragments is several. */
  next(): ReadonlyArray<Uint8Array> {
    const { random, udp } = this
    const odd = random.chance(0.12)
    const quirk = odd ? random.below(14) : -1
    const length = quirk === 0 ? 0 : quirk === 1 ? random.below(this.size) + 1 : quirk === 2 ? this.size + 3 : this.size
    const ip = {
      source: this.source,
      destination: this.destination,
      ttl: quirk === 3 ? 63 : 64,
      trafficClass: quirk === 4 ? random.pick([1, 2, 3, 0xb8]) : 0,
      dontFragment: this.dontFragment !== (quirk === 5 && random.chance(0.5)),
      flowLabel: this.v6 && quirk === 5 ? 77 : 5,
      identification: this.identification,
      padding: random.chance(0.2) ? random.below(16) : 0,
      ...(quirk === 6 && !this.v6 ? { options: Uint8Array.of(148, 4, 0, 0) } : {}),
      ...(quirk === 6 && this.v6 ? { extensions: [{ type: 60 }] } : {})
    }
    this.identification = (this.identification + (quirk === 7 ? 5 : 1)) & 0xffff
    const payload = random.bytes(length)
    const ports = { sourcePort: this.sourcePort, destinationPort: 443, payload }
    if (udp) {
      if (quirk === 8 && !this.v6) {
        const whole = buildUdp({ ...ip, padding: 0, ...ports, payload: random.bytes(40) })
        return buildFragment({
          ...ip,
          dontFragment: false,
          protocol: 17,
          data: dataOf(whole).subarray(0, 48),
          size: 24,
          identification: 7
        })
      }
      const packet = buildUdp({ ...ip, ...ports, withoutChecksum: quirk === 9 })
      return [quirk === 10 ? corrupted(packet, random) : packet]
    }
    if (quirk === 8) this.sequence += 100
    if (quirk === 9) this.acknowledgement += 10
    if (quirk === 11) this.window++
    if (quirk === 12) this.options = Uint8Array.from(random.pick(optionSets))
    const flags = ack | (random.chance(0.05) ? psh : 0) | (quirk === 13 ? random.pick([fin, cwr, 0x40, 0x20, 2, 4]) : 0)
    const packet = buildTcp({
      ...ip,
      ...ports,
      sequence: this.sequence >>> 0,
      acknowledgement: this.acknowledgement,
      window: this.window,
      flags,
      tcpOptions: this.options,
      reserved: quirk === 3 ? 1 : 0,
      urgent: quirk === 4 ? 9 : 0
    })
    this.sequence += length
    return [quirk === 10 ? corrupted(packet, random) : packet]
  }
}

/** One bit of the payload or of a checksum is wrong. */
const corrupted = (packet: Uint8Array, random: Random): Uint8Array => {
  const copy = packet.slice()
  const v4 = packet[0]! >>> 4 === 4
  const at = v4 && random.chance(0.4) ? 10 + random.below(2) : packet.length - 1
  copy[at]! ^= 1 << random.below(8)
  return copy
}
