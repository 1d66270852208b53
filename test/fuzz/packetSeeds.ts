/** One packet of every shape that a gateway meets. */
import { buildEcho, buildIcmp, buildTcp, buildUdp } from "../support/packets.ts"

const client4 = "100.64.1.1"
const client6 = "fd00:2021:1111::1:1"
const proxy4 = "100.96.0.4"
const proxy6 = "fd00:2021:1111:8000::4"
const real4 = "10.20.0.10"
const real6 = "fd5a::1"

const from4 = { source: client4, destination: proxy4 }
const from6 = { source: client6, destination: proxy6 }
const syn = { sourcePort: 50_000, destinationPort: 443, flags: 2, tcpOptions: Uint8Array.of(2, 4, 5, 0xb4) }
const query = { sourcePort: 1, destinationPort: 53 }
const fragment = (offset: number, more: boolean) => ({ fragment: { offset, more, identification: 9 } })

export const packetSeeds: ReadonlyArray<Uint8Array> = [
  buildTcp({ ...from4, ...syn }),
  buildTcp({ ...from6, ...syn }),
  buildUdp({ ...from4, ...query, payload: new Uint8Array(40) }),
  buildUdp({ ...from6, ...query, payload: new Uint8Array(40) }),
  buildUdp({ ...from4, ...query, withoutChecksum: true }),
  buildEcho({ ...from4, identifier: 3 }),
  buildEcho({ ...from6, identifier: 3 }),
  buildUdp({
    ...from6,
    ...query,
    ...fragment(0, true),
    extensions: [{ type: 0 }, { type: 43, body: new Uint8Array(6) }, { type: 60 }],
    payload: new Uint8Array(16)
  }),
  buildUdp({ ...from4, ...query, ...fragment(0, true), payload: new Uint8Array(24) }),
  buildUdp({ ...from4, ...query, ...fragment(32, false), payload: new Uint8Array(24) }),
  buildIcmp({
    source: real4,
    destination: client4,
    type: 3,
    code: 1,
    payload: buildTcp({ source: client4, destination: real4, sourcePort: 5, destinationPort: 443 })
  }),
  buildIcmp({
    source: real6,
    destination: client6,
    type: 1,
    code: 1,
    payload: buildUdp({ source: client6, destination: real6, sourcePort: 5, destinationPort: 443 })
  }),
  buildUdp({ ...from4, ...query, options: Uint8Array.of(7, 7, 4, 0, 0, 0, 0), payload: new Uint8Array(3) })
]
