/** What an upstream DNS server sends: a stream in pieces, each message of it also as a datagram to a question in random case. */
import { randomCase, restoreCase } from "../../../src/dns/dns0x20.ts"
import { encode } from "../../../src/dns/encode.ts"
import { emptyMessage, type Message } from "../../../src/dns/message.ts"
import { encodeQuery, judge, readAddresses } from "../../../src/dns/query.ts"
import { recordType } from "../../../src/dns/registry.ts"
import { frame, StreamFrames } from "../../../src/dns/streamFrames.ts"
import { invariant, type Target } from "../Target.ts"

const query = { id: 7, domain: "App.Corp.internal", type: recordType.A } as const
const plain = encodeQuery(query, true)!
const sent = randomCase(plain, Uint8Array.of(0b0110_1001, 0b1010_0110))

const address = (name: string) =>
  ({ name, type: recordType.A, class: 1, ttl: 60, data: { _tag: "Address", address: "10.1.2.3" } }) as const

const answer = (over: Partial<Message> = {}): Uint8Array => {
  const questions = [{ name: "aPp.corP.InteRNaL", type: recordType.A, class: 1 }]
  const base = { ...emptyMessage, id: query.id, response: true, recursionAvailable: true, questions }
  return encode({ ...base, answers: [address("app.corp.internal")], ...over })!
}

const stream = (...messages: ReadonlyArray<Uint8Array>): Uint8Array =>
  Uint8Array.from(messages.flatMap((message) => [...frame(message)]))

const judged = (bytes: Uint8Array): void => {
  for (const [transport, withEdns] of [
    ["udp", true],
    ["tcp", false]
  ] as const) {
    const datagram = bytes.slice()
    if (transport === "udp") restoreCase(sent, plain, datagram)
    const verdict = judge(query, datagram, transport, withEdns)
    const read = verdict._tag === "Usable" ? verdict.message : verdict._tag === "Truncated" ? verdict.partial : null
    if (read === null) continue
    invariant(read.id === query.id && read.response, "an answer to another question is used")
    invariant(read.questions[0]?.name.toLowerCase() === query.domain.toLowerCase(), "another name's answer is used")
    const found = readAddresses(query.domain, query.type, read)
    invariant(found._tag !== "Addresses" || found.addresses.length <= 64, "more addresses than are used")
  }
}

export const target: Target = {
  seeds: [
    stream(answer()),
    stream(answer({ truncated: true }), answer({ rcode: 2, answers: [] })),
    stream(answer({ rcode: 1, questions: [], answers: [] }), answer()),
    stream(answer({ edns: { udpPayloadSize: 1_232, version: 0, dnssecOk: false, options: [] } })),
    Uint8Array.from([...stream(answer()), 0, 40, 0, 7])
  ],
  dictionary: [
    Uint8Array.of(0, 12),
    Uint8Array.of(0xff, 0xff),
    Uint8Array.of(0, 7, 0x81, 0x80),
    Uint8Array.of(0xc0, 0x0c)
  ],
  maxLength: 1_500,
  lifetime: 1,
  bound: 50,
  start: () => (input) => {
    const frames = new StreamFrames()
    const piece = 1 + ((input.at(-1) ?? 0) % 97)
    const messages: Array<Uint8Array> = []
    let ended = false
    for (let at = 0; at < input.length && !ended; at += piece) {
      const read = frames.push(input.slice(at, at + piece))
      if (read === null) ended = true
      else messages.push(...read)
    }
    const again = stream(...messages)
    invariant(
      again.every((byte, i) => byte === input[i]),
      "the messages are not what came"
    )
    for (const message of messages) judged(message)
  }
}
