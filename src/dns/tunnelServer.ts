import * as Effect from "effect/Effect"
import { type DnsHandler, waitFor } from "../host/DnsSockets.ts"
import { type Later, mapTold, type Told } from "../loops/later.ts"
import { isIpv4, parseAddress } from "../packet/address.ts"
import { decode, decodeHeader } from "./decode.ts"
import { encode } from "./encode.ts"
import { extendedErrorCode, extendedErrorOption } from "./extendedError.ts"
import { emptyMessage, isMalformed, type Message, type Question, type ResourceRecord } from "./message.ts"
import { canonicalName, isWithin, parentName, sameName } from "./name.ts"
import { classInternet, opcodeQuery, rcode, recordType, udpPayloadSize } from "./registry.ts"
import { reverseAddress } from "./reverse.ts"
import type { TunnelAnswer, TunnelQuestion } from "./tunnelAnswer.ts"

/** A query has one question and an OPT record; the rest of the room is slack. */
const maxQueryRecords = 16

type Reply = Uint8Array | null

/** What stands behind the protocol. */
interface Answering {
  /** A defect of it is logged and answered with SERVFAIL. */
  readonly lookup: (question: TunnelQuestion) => Effect.Effect<TunnelAnswer>
  /** What `lookup` would come to, where that can be said at once, or where no fiber has to wait for it. */
  readonly known?: (question: TunnelQuestion) => TunnelAnswer | Later<Told<TunnelAnswer>> | undefined
  /** Whether one more query that is none is answered with the error; else it gets no answer. */
  readonly mayComplain?: () => boolean
}

/**
 * The protocol of the tunnel DNS server around one decision: bytes of a query in, bytes of the answer out, `null` when
 * nothing must be sent. At once where that is possible.
 */
export const answerQuery = (
  bytes: Uint8Array,
  transport: "udp" | "tcp",
  { known, lookup, mayComplain }: Answering
): ReturnType<DnsHandler> => {
  const query = readQuery(bytes)
  if (query === null) return null
  if (query instanceof Uint8Array) return mayComplain?.() === false ? null : query
  const { wanted } = query
  const answer = decideHere(wanted) ?? known?.(wanted)
  const written = (told: Told<TunnelAnswer>): Told<Reply> =>
    mapTold(Effect.isEffect(told) ? Effect.catchDefect(told, failed) : told, (answer) =>
      writeAnswer(query, answer, transport)
    )
  return typeof answer === "function"
    ? (tell) => answer((told) => tell(written(told)))
    : written(answer ?? lookup(wanted))
}

/** The same, for who waits in any case. */
export const handleQuery = (
  bytes: Uint8Array,
  transport: "udp" | "tcp",
  lookup: Answering["lookup"]
): Effect.Effect<Reply> =>
  Effect.suspend(() => {
    return waitFor(answerQuery(bytes, transport, { lookup }))
  })

/** A query that is worth a decision. */
interface Query {
  readonly question: Question
  readonly wanted: TunnelQuestion
  /** The answer's frame. */
  readonly reply: Message
  /** What the client takes over UDP. */
  readonly udpLimit: number
}

/** A reply: the bytes are no such query. */
const readQuery = (bytes: Uint8Array): Query | Reply => {
  const header = decodeHeader(bytes)
  // Answering an answer could make two servers talk for ever.
  if (header === null || header.response) return null
  const bare = { ...emptyMessage, id: header.id, response: true, opcode: header.opcode }
  const base = { ...bare, recursionDesired: header.recursionDesired, recursionAvailable: true }
  if (header.opcode !== opcodeQuery) return encode({ ...base, rcode: rcode.NotImp })
  const query = decode(bytes, maxQueryRecords)
  if (isMalformed(query)) return encode({ ...base, rcode: rcode.FormErr })

  const edns = query.edns === null ? null : { udpPayloadSize, version: 0, dnssecOk: query.edns.dnssecOk, options: [] }
  const reply = { ...base, checkingDisabled: query.checkingDisabled, questions: query.questions, edns }
  const [question] = query.questions
  if (question === undefined || query.questions.length > 1) {
    return encode({ ...reply, questions: [], rcode: rcode.FormErr })
  }
  if (query.edns !== null && query.edns.version !== 0) return encode({ ...reply, rcode: rcode.BadVers })
  if (question.class !== classInternet) return encode({ ...reply, rcode: rcode.Refused })
  const udpLimit = Math.min(Math.max(query.edns?.udpPayloadSize ?? 512, 512), udpPayloadSize)
  return { question, wanted: readQuestion(question, query), reply, udpLimit }
}

const writeAnswer = (
  { question, reply, udpLimit, wanted }: Query,
  answer: TunnelAnswer,
  transport: "udp" | "tcp"
): Reply => {
  if (answer._tag === "Dropped") return null
  const { edns } = reply
  const content = contentOf(question, answer)
  const authenticData = content.authenticData === true && wanted.authenticData === true
  return fit(
    { ...reply, ...content, authenticData, edns: edns && { ...edns, options: optionsOf(answer) } },
    transport === "tcp" ? 0xffff : udpLimit
  )
}

/** What every client is told the same: nobody else knows these names or types better. */
const decideHere = ({ domain, type }: TunnelQuestion): TunnelAnswer | null => {
  switch (type) {
    case recordType.ANY:
    case recordType.AXFR:
    case recordType.IXFR:
    case recordType.MAILA:
    case recordType.MAILB:
    case recordType.OPT:
      return { _tag: "Refused", error: { code: extendedErrorCode.NotSupported, text: "type not served" } }
  }
  // A browser that finds this name asks servers of its own, which know no private names (Mozilla's canary domain).
  if (domain === "use-application-dns.net") return { _tag: "NameError", ttl: 60 }
  // Encrypted servers that replace this one (RFC 9462 §6.4): another server's must not pass for ours.
  return isWithin(domain, "resolver.arpa") ? { _tag: "NoData", ttl: 60 } : null
}

const readQuestion = (question: Question, { authenticData, checkingDisabled, edns }: Message): TunnelQuestion => {
  const domain = canonicalName(question.name)
  const dnssecOk = edns?.dnssecOk === true
  return {
    domain,
    type: question.type,
    family: question.type === recordType.A ? 4 : question.type === recordType.AAAA ? 6 : null,
    reverse: question.type === recordType.PTR ? reverseAddress(domain) : null,
    dnssecOk,
    checkingDisabled,
    authenticData: authenticData || dnssecOk
  }
}

const optionsOf = (answer: TunnelAnswer): NonNullable<Message["edns"]>["options"] =>
  answer._tag === "Alias" ? optionsOf(answer.answer) : optionsHere(answer)

const optionsHere = (answer: TunnelAnswer): NonNullable<Message["edns"]>["options"] =>
  "error" in answer && answer.error !== undefined ? [extendedErrorOption(answer.error)] : []

const failed = (defect: unknown): Effect.Effect<TunnelAnswer> =>
  Effect.as(Effect.logError("The tunnel DNS lookup broke", defect), { _tag: "ServerFailure" })

const contentOf = (question: Question, answer: Exclude<TunnelAnswer, { _tag: "Dropped" }>): Partial<Message> => {
  const record = (ttl: number, data: ResourceRecord["data"]): ResourceRecord => ({
    name: question.name,
    type: question.type,
    class: classInternet,
    ttl,
    data
  })
  switch (answer._tag) {
    case "Addresses": {
      const answers = answer.addresses
        .filter((address) => familyOf(address) === question.type)
        .map((address) => record(answer.ttl, { _tag: "Address", address }))
      return answers.length === 0 ? negative(question, answer.ttl) : { authoritative: true, answers }
    }
    case "NoData":
      return negative(question, answer.ttl)
    case "NameError":
      return { ...negative(question, answer.ttl), rcode: rcode.NXDomain }
    case "Records":
      return {
        authoritative: true,
        answers: answer.records.map(({ data, ttl, type }) => ({ ...record(ttl, data), type }))
      }
    case "Alias": {
      const content = contentOf({ ...question, name: answer.target }, answer.answer)
      const found = content.rcode === undefined || content.rcode === rcode.NoError || content.rcode === rcode.NXDomain
      if (!found) return content
      const alias = { ...record(answer.ttl, { _tag: "Name", name: answer.target } as const), type: recordType.CNAME }
      return { ...content, authenticData: false, answers: [alias, ...(content.answers ?? [])] }
    }
    case "Reverse":
      return { authoritative: true, answers: [record(answer.ttl, { _tag: "Name", name: answer.name })] }
    case "Forwarded": {
      const { rcode: code, answers, authenticData, authorities, additionals } = answer.message
      if (code > 15) return { rcode: rcode.ServFail }
      // The client's own spelling: the question may have gone out in another one.
      const spelt = answers.map((r) => (sameName(r.name, question.name) ? { ...r, name: question.name } : r))
      return { rcode: code, answers: spelt, authorities, additionals, authenticData }
    }
    case "Refused":
      return { rcode: rcode.Refused }
    case "ServerFailure":
  }
  return { rcode: rcode.ServFail }
}

/** The record type an address belongs in. */
const familyOf = (address: string): number | null => {
  const a = parseAddress(address)
  return a === undefined ? null : isIpv4(a) ? recordType.A : recordType.AAAA
}

/** Clients keep an absence only with an SOA record, for min(TTL, MINIMUM) (RFC 2308 §5). We are our own zone. */
const negative = (question: Question, ttl: number): Partial<Message> => ({
  authoritative: true,
  authorities: [
    {
      name: parentName(question.name),
      type: recordType.SOA,
      class: classInternet,
      ttl,
      data: {
        _tag: "Soa",
        mname: "gateway.invalid",
        rname: "nobody.invalid",
        serial: 1,
        refresh: 3600,
        retry: 600,
        expire: 86_400,
        minimum: ttl
      }
    }
  ]
})

/** An answer over the limit is sent empty with TC, so that the client comes back over TCP. */
const fit = (message: Message, limit: number): Uint8Array | null => {
  // No record is shorter: what cannot fit need not be written to know it.
  if ((message.answers.length + message.authorities.length) * minRecordBytes > limit) {
    return encode({ ...message, ...empty, truncated: true })
  }
  const whole = encode(message)
  if (whole === null) return encode({ ...message, ...empty, rcode: rcode.ServFail })
  if (whole.length <= limit) return whole
  const withoutExtras = message.additionals.length === 0 ? null : encode({ ...message, additionals: [] })
  if (withoutExtras !== null && withoutExtras.length <= limit) return withoutExtras
  return encode({ ...message, ...empty, truncated: true })
}

/** A name of one byte, type, class, TTL and the length of nothing. */
const minRecordBytes = 11

const empty = { answers: [], authorities: [], additionals: [] } as const
