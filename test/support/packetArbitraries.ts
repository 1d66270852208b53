/** Generators of packets and their parts for property tests. */
import { Arbitrary, Schema } from "effect"
import { formatAddress, mappedPrefix, words } from "../../src/packet/address.ts"
import { buildEcho, buildTcp, buildUdp, type Extension, type IpOptions } from "./packets.ts"

export const integer = (minimum: number, maximum: number): Arbitrary.Arbitrary<number> =>
  Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum, maximum })))

export const byte = integer(0, 255)

/** Ports with the ends of the range well represented. */
export const port = integer(0, 65535 + 40).pipe(Arbitrary.map((n) => (n > 65535 ? (n % 2 === 0 ? 0 : 65535) : n)))

/** 0 to `maxLength` bytes, all lengths alike (an array of `Arbitrary` alone stays short). */
export const bytes = (maxLength: number): Arbitrary.Arbitrary<Uint8Array> =>
  integer(0, maxLength).pipe(
    Arbitrary.flatMap((length) => Arbitrary.array(byte, { minLength: length, maxLength: length })),
    Arbitrary.map((a) => Uint8Array.from(a))
  )

/** Of the random number generators that tests bring along. */
export const Seed = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 0x7fffffff }))

const word = integer(-0x80000000, 0x7fffffff)

/** A host address as text: IPv4 10.0.0.0/8 … or IPv6 fd00::/8, so that no special range gets in the way. */
export const host4 = integer(1, 0xfffffe).pipe(
  Arbitrary.map((n) => formatAddress(words(0, 0, mappedPrefix, 0x0a000000 | n)))
)

export const host6 = Arbitrary.all([word, word, word]).pipe(
  Arbitrary.map(([b, c, d]) => formatAddress(words(0xfd000000 | (b & 0xffff), b, c, d)))
)

type Kind = "udp" | "udpWithoutChecksum" | "tcp" | "echo" | "echoReply"
const kinds: ReadonlyArray<Kind> = ["udp", "udpWithoutChecksum", "tcp", "echo", "echoReply"]

export interface PacketSpec extends IpOptions {
  readonly kind: Kind
  readonly v6: boolean
  readonly sourcePort: number
  readonly destinationPort: number
  readonly flags: number
  readonly payload: Uint8Array
  /** Where a translation leads: addresses of the same family and ports. */
  readonly other: string
  readonly otherPort: number
}

const extensionSets: ReadonlyArray<ReadonlyArray<Extension>> = [
  [],
  [],
  [{ type: 0 }],
  [{ type: 60, body: new Uint8Array(14) }],
  [{ type: 0 }, { type: 43 }, { type: 60 }],
  [{ type: 51, body: new Uint8Array(22) }]
]

export const packetSpec: Arbitrary.Arbitrary<PacketSpec> = Arbitrary.all({
  kind: integer(0, kinds.length - 1),
  v6: integer(0, 1),
  source4: host4,
  destination4: host4,
  other4: host4,
  source6: host6,
  destination6: host6,
  other6: host6,
  sourcePort: port,
  destinationPort: port,
  otherPort: port,
  flags: byte,
  ttl: byte,
  trafficClass: byte,
  extensions: integer(0, extensionSets.length - 1),
  padding: integer(0, 15),
  payload: bytes(64)
}).pipe(
  Arbitrary.map((p) => {
    const v6 = p.v6 === 1
    const kind = kinds[p.kind]!
    return {
      kind: v6 && kind === "udpWithoutChecksum" ? "udp" : kind,
      v6,
      source: v6 ? p.source6 : p.source4,
      destination: v6 ? p.destination6 : p.destination4,
      other: v6 ? p.other6 : p.other4,
      sourcePort: p.sourcePort,
      destinationPort: p.destinationPort,
      otherPort: p.otherPort,
      flags: p.flags,
      ttl: p.ttl,
      trafficClass: p.trafficClass,
      extensions: extensionSets[p.extensions]!,
      padding: p.padding,
      payload: p.payload
    }
  })
)

export const build = (p: PacketSpec): Uint8Array => builders[p.kind](p)

const builders: Record<Kind, (p: PacketSpec) => Uint8Array> = {
  udp: buildUdp,
  udpWithoutChecksum: (p) => buildUdp({ ...p, withoutChecksum: true }),
  tcp: buildTcp,
  echo: (p) => buildEcho({ ...p, identifier: p.sourcePort }),
  echoReply: (p) => buildEcho({ ...p, identifier: p.sourcePort, reply: true })
}
