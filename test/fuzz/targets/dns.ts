/** DNS messages of clients and of upstream servers: read, written again, answered. */
import * as Effect from "effect/Effect"
import { decode, decodeHeader } from "../../../src/dns/decode.ts"
import { encode } from "../../../src/dns/encode.ts"
import { emptyMessage, isMalformed, type Malformed, type Message } from "../../../src/dns/message.ts"
import { labelsOf, readName } from "../../../src/dns/name.ts"
import { judge, readAddresses } from "../../../src/dns/query.ts"
import { recordType } from "../../../src/dns/registry.ts"
import type { TunnelAnswer } from "../../../src/dns/tunnelAnswer.ts"
import { filterHints } from "../../../src/dns/serviceHints.ts"
import { handleQuery } from "../../../src/dns/tunnelServer.ts"
import { invariant, type Target } from "../Target.ts"

const message = (name: string, type: number, over: Partial<Message> = {}): Uint8Array => {
  const questions = [{ name, type, class: 1 }]
  return encode({ ...emptyMessage, id: 7, recursionDesired: true, questions, ...over })!
}
const cookie = { udpPayloadSize: 1_232, version: 0, dnssecOk: true, options: [{ code: 10, data: new Uint8Array(8) }] }
const soa = {
  _tag: "Soa",
  mname: "x",
  rname: "y",
  serial: 1,
  refresh: 1,
  retry: 1,
  expire: 1,
  minimum: 5
} as const
const service = { _tag: "Raw", bytes: Uint8Array.of(0, 1, 0, 2, 0, 3, 1, 97, 0) } as const

const query = { id: 7, domain: "a.b", type: 1 } as const

const roundTrip = (read: Message): void => {
  const written = encode(read)
  if (written !== null) {
    const again = decode(written)
    invariant(!isMalformed(again), "what we write can be read")
    invariant(again.answers.length === read.answers.length, "answers after a round trip")
    invariant(again.questions.length === read.questions.length, "questions after a round trip")
  }
  for (const { name } of read.answers) invariant(labelsOf(name) !== null, "the text of a name is no name")
  readAddresses(query.domain, recordType.A, read)
  readAddresses(query.domain, recordType.AAAA, read)
}

/** One answer of each kind; a server's own message forwarded. */
const answerOf = (kind: number, read: Message | Malformed): TunnelAnswer => {
  const reverse = !isMalformed(read) && read.questions[0]?.type === recordType.PTR
  switch (kind % 5) {
    case 0:
      return { _tag: "Addresses", addresses: ["100.96.0.1", "100.96.0.2", "fd00::1"], ttl: 30 }
    case 1:
      return { _tag: "NoData", ttl: 3 }
    case 2:
      return { _tag: "NameError", ttl: 3 }
    case 3:
      return reverse ? { _tag: "Reverse", name: "a.b", ttl: 3 } : { _tag: "NoData", ttl: 9 }
    default:
      return isMalformed(read) ? { _tag: "ServerFailure" } : { _tag: "Forwarded", message: read }
  }
}

const answered = (input: Uint8Array, read: Message | Malformed): void => {
  const overUdp = input.length % 2 === 1
  const lookup = () => Effect.succeed(answerOf(input.length, read))
  const reply = Effect.runSync(handleQuery(input, overUdp ? "udp" : "tcp", lookup))
  if (reply === null) return
  invariant(reply.length <= (overUdp ? 1_232 : 65_535), "the answer is too long")
  const own = decode(reply, 70_000)
  invariant(!isMalformed(own), "our answer can be read")
  invariant(own.response && own.id === input[0]! * 256 + input[1]!, "our answer belongs to the query")
}

export const target: Target = {
  seeds: [
    message("app.corp.internal", recordType.A),
    message("app.corp.internal", recordType.AAAA, { edns: cookie }),
    message("a.b", recordType.A, {
      response: true,
      answers: [
        { name: "a.b", type: recordType.CNAME, class: 1, ttl: 60, data: { _tag: "Name", name: "c.d" } },
        { name: "c.d", type: recordType.A, class: 1, ttl: 60, data: { _tag: "Address", address: "10.1.2.3" } }
      ],
      authorities: [{ name: "d", type: recordType.SOA, class: 1, ttl: 6, data: soa }]
    }),
    message("a.b", 33, { response: true, answers: [{ name: "a.b", type: 33, class: 1, ttl: 60, data: service }] }),
    message("1.0.0.10.in-addr.arpa", recordType.PTR),
    message(".", recordType.ANY),
    message("\\000\\255x.y", 16)
  ],
  dictionary: [
    Uint8Array.of(0xc0, 0x0c),
    Uint8Array.of(0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0),
    Uint8Array.of(3, 119, 119, 119),
    Uint8Array.of(0, 1, 0, 1),
    Uint8Array.of(0, 28, 0, 1),
    Uint8Array.of(0, 5, 0, 1, 0, 0, 0, 60, 0, 2, 0xc0, 0x0c)
  ],
  maxLength: 1_500,
  lifetime: 1,
  bound: 50,
  start: () => (input) => {
    decodeHeader(input)
    const read = decode(input)
    if (!isMalformed(read)) roundTrip(read)
    const hints = filterHints(input, (address) => !address.startsWith("10."))
    if (hints !== null) invariant(filterHints(hints, (a) => !a.startsWith("10.")) === hints, "a refused hint is left")
    judge(query, input, "udp", true)
    judge(query, input, "tcp", false)
    answered(input, read)
    for (const at of [12, 13, input.length >> 1]) if (at < input.length) readName(input, at, { end: 0 })
  }
}
