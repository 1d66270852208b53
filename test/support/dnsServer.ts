import * as dgram from "node:dgram"
import * as net from "node:net"
import * as timers from "node:timers/promises"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { decode } from "../../src/dns/decode.ts"
import { encode } from "../../src/dns/encode.ts"
import type { Message, Question, RecordData, ResourceRecord } from "../../src/dns/message.ts"
import { emptyMessage, isMalformed } from "../../src/dns/message.ts"
import { canonicalName, parentName } from "../../src/dns/name.ts"
import { classInternet, rcode, recordType } from "../../src/dns/registry.ts"

type DnsMode =
  | "answer"
  /** Reads, counts and says nothing. */
  | "blackhole"
  | "servfail"
  | "refused"
  | "notimp"
  | "nxdomain"
  /** TC and no records over UDP; the answer over TCP. */
  | "truncate"
  /** TC over UDP; over TCP connected and silent. */
  | "tcp-blackhole"
  /** The right id and then nonsense. */
  | "garbage"
  /** FORMERR without question to whoever uses EDNS. */
  | "no-edns"
  /** Right in all but the id, then the right answer. */
  | "wrong-id"
  /** Answers another question, then the right one. */
  | "wrong-question"

interface DnsEntry {
  readonly A?: ReadonlyArray<string>
  readonly AAAA?: ReadonlyArray<string>
  readonly CNAME?: string
  readonly PTR?: string
  readonly TXT?: string
  /** Seconds; 30 unless given. */
  readonly ttl?: number
  /** TTL and MINIMUM of the SOA record in negative answers; none without it. */
  readonly negativeTtl?: number
  readonly mode?: DnsMode
  /** Another mode for questions of one type. */
  readonly modes?: Readonly<Partial<Record<"A" | "AAAA" | "TXT", DnsMode>>>
  readonly delayMs?: number
}

/** Entries by name (lower case); `*` stands for every name without one. No entry: NXDOMAIN. `mode` is the default of all. */
export type DnsZone = Readonly<Record<string, DnsEntry | DnsMode | undefined>> & { readonly mode?: DnsMode }

export interface DnsTestQuery {
  readonly id: number
  readonly name: string
  readonly type: number
  readonly transport: "udp" | "tcp"
  readonly edns: boolean
  readonly port: number
}

export interface DnsTestServer {
  readonly address: string
  readonly port: number
  /** Everything asked so far; also what was not answered. */
  readonly queries: ReadonlyArray<DnsTestQuery>
  readonly count: (name: string, type?: number) => number
  /** TCP connections that are open now. */
  readonly connections: () => number
  readonly setZone: (zone: DnsZone) => void
  readonly close: () => Promise<void>
}

/** A DNS server with scripted answers, UDP and TCP on one port (0: any free one). */
export const startDnsServer = async (options: {
  readonly address?: string
  readonly port?: number
  readonly zone: DnsZone
  readonly onQuery?: (query: DnsTestQuery) => void
}): Promise<DnsTestServer> => {
  const { address = "127.0.0.1", onQuery } = options
  let { zone } = options
  const queries: Array<DnsTestQuery> = []
  const connections = new Set<net.Socket>()

  const handle = (bytes: Uint8Array, transport: "udp" | "tcp", port: number, reply: (bytes: Uint8Array) => void) => {
    const query = decode(bytes)
    if (isMalformed(query) || query.questions[0] === undefined) return
    const asked = { name: canonicalName(query.questions[0].name), type: query.questions[0].type }
    const record = { id: query.id, ...asked, transport, edns: query.edns !== null, port }
    queries.push(record)
    onQuery?.(record)
    const { packets, delayMs } = answersTo(zone, query, query.questions[0], transport)
    const send = (): void => packets.forEach(reply)
    if (delayMs > 0) void timers.setTimeout(delayMs).then(send)
    else send()
  }

  const tcp = net.createServer((socket) => {
    connections.add(socket)
    let received = Buffer.alloc(0)
    socket.on("close", () => connections.delete(socket))
    socket.on("error", () => socket.destroy())
    socket.on("data", (chunk: Buffer) => {
      received = Buffer.concat([received, chunk])
      while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
        const length = received.readUInt16BE(0)
        const query = Uint8Array.from(received.subarray(2, 2 + length))
        received = received.subarray(2 + length)
        handle(query, "tcp", socket.remotePort ?? 0, (answer) => {
          if (!socket.destroyed) socket.write(Buffer.concat([Buffer.from([answer.length >> 8, answer.length]), answer]))
        })
      }
    })
  })
  const udp = dgram.createSocket(net.isIPv6(address) ? "udp6" : "udp4")
  let closed = false
  udp.on("message", (bytes, from) =>
    handle(bytes, "udp", from.port, (answer) => {
      if (!closed) udp.send(answer, from.port, from.address, () => undefined)
    })
  )
  const port = await bindBoth(tcp, udp, address, options.port ?? 0)

  return {
    address,
    port,
    queries,
    count: (name, type) => queries.filter((q) => q.name === name && (type === undefined || q.type === type)).length,
    connections: () => connections.size,
    setZone: (next) => {
      zone = next
    },
    close: async () => {
      if (closed) return
      closed = true
      for (const socket of connections) socket.destroy()
      udp.close()
      await new Promise<void>((resolve) => {
        tcp.close(() => resolve())
      })
    }
  }
}

/** The same, closed with the scope. */
export const dnsServer = (
  zone: DnsZone,
  at: { readonly address?: string; readonly port?: number } = {}
): Effect.Effect<DnsTestServer, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(() => startDnsServer({ ...at, zone })),
    (server) => Effect.promise(() => server.close())
  )

/** Port 0: one that is free for both, which the kernel's choice for one of them need not be. */
export const bindBoth = async (tcp: net.Server, udp: dgram.Socket, address: string, port: number): Promise<number> => {
  for (let tries = 0; ; tries++) {
    await once(tcp, (done) => tcp.listen(port, address, done))
    const bound = (tcp.address() as net.AddressInfo).port
    try {
      await once(udp, (done) => udp.bind(bound, address, done))
      udp.on("error", () => undefined)
      return bound
    } catch (error) {
      await new Promise((resolve) => tcp.close(resolve))
      if (port !== 0 || tries === 20 || (error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw error
    }
  }
}

const once = (emitter: NodeJS.EventEmitter, start: (done: () => void) => void): Promise<void> =>
  new Promise((resolve, reject) => {
    emitter.once("error", reject)
    start(() => {
      emitter.off("error", reject)
      resolve()
    })
  })

const answersTo = (
  zone: DnsZone,
  query: Message,
  question: Question,
  transport: "udp" | "tcp"
): { readonly packets: ReadonlyArray<Uint8Array>; readonly delayMs: number } => {
  const entry = entryOf(zone, canonicalName(question.name))
  const typed = question.type === recordType.A ? "A" : question.type === recordType.AAAA ? "AAAA" : "TXT"
  const mode = entry?.modes?.[typed] ?? entry?.mode ?? zone.mode ?? "answer"
  const reply: Message = {
    ...emptyMessage,
    id: query.id,
    response: true,
    recursionDesired: query.recursionDesired,
    recursionAvailable: true,
    questions: query.questions,
    edns: query.edns === null ? null : { udpPayloadSize: 1232, version: 0, dnssecOk: false, options: [] }
  }
  const real = { ...reply, ...contentOf(zone, question) }
  const delayMs = entry?.delayMs ?? 0
  const packets = (...messages: ReadonlyArray<Message>) => ({ packets: messages.map(bytesOf), delayMs })
  switch (mode) {
    case "answer": {
      const bytes = bytesOf(real)
      const limit = transport === "tcp" ? 0xffff : Math.max(512, query.edns?.udpPayloadSize ?? 512)
      return bytes.length <= limit ? { packets: [bytes], delayMs } : packets({ ...reply, truncated: true })
    }
    case "blackhole":
      return { packets: [], delayMs }
    case "servfail":
      return packets({ ...reply, rcode: rcode.ServFail })
    case "refused":
      return packets({ ...reply, rcode: rcode.Refused })
    case "notimp":
      return packets({ ...reply, rcode: rcode.NotImp })
    case "nxdomain":
      return packets({ ...reply, rcode: rcode.NXDomain, authorities: soa(question, entry?.negativeTtl) })
    case "truncate":
      return packets(transport === "udp" ? { ...reply, truncated: true } : real)
    case "tcp-blackhole":
      return transport === "udp" ? packets({ ...reply, truncated: true }) : { packets: [], delayMs }
    case "garbage":
      return {
        packets: [Uint8Array.of(query.id >> 8, query.id & 255, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0, 0xc0)],
        delayMs
      }
    case "no-edns":
      return packets(query.edns === null ? real : { ...reply, questions: [], edns: null, rcode: rcode.FormErr })
    case "wrong-id": {
      const forged = { name: question.name, type: recordType.A, class: classInternet, ttl: 9 }
      const data: RecordData = { _tag: "Address", address: "192.0.2.66" }
      return packets({ ...reply, id: reply.id ^ 1, answers: [{ ...forged, data }] }, real)
    }
    case "wrong-question":
  }
  const name = `not.${question.name}`
  const data: RecordData = { _tag: "Address", address: "192.0.2.66" }
  const forged = { name, type: recordType.A, class: classInternet, ttl: 9, data }
  return packets({ ...reply, questions: [{ ...question, name }], answers: [forged] }, real)
}

const entryOf = (zone: DnsZone, name: string): DnsEntry | undefined => {
  const entry = zone[name] ?? zone["*"]
  return typeof entry === "object" ? entry : undefined
}

/** Follows aliases within the zone, as a recursive server does; an alias out of it is left to the asker. */
const contentOf = (zone: DnsZone, question: Question): Partial<Message> => {
  const answers: Array<ResourceRecord> = []
  let { name } = question
  let entry = entryOf(zone, canonicalName(name))
  const add = (type: number, data: RecordData): void => {
    answers.push({ name, type, class: classInternet, ttl: entry?.ttl ?? 30, data })
  }
  for (let hops = 0; entry?.CNAME !== undefined && hops < 20; hops++) {
    add(recordType.CNAME, { _tag: "Name", name: entry.CNAME })
    name = entry.CNAME
    const next = zone[canonicalName(name)]
    if (typeof next !== "object") return { answers }
    entry = next
  }
  if (entry === undefined) return { rcode: rcode.NXDomain, authorities: soa(question, undefined) }
  if (question.type === recordType.A) for (const a of entry.A ?? []) add(question.type, { _tag: "Address", address: a })
  if (question.type === recordType.AAAA) {
    for (const a of entry.AAAA ?? []) add(question.type, { _tag: "Address", address: a })
  }
  if (question.type === recordType.PTR && entry.PTR !== undefined) add(question.type, { _tag: "Name", name: entry.PTR })
  if (question.type === recordType.TXT && entry.TXT !== undefined) {
    const text = Buffer.from(entry.TXT).subarray(0, 255)
    add(question.type, { _tag: "Raw", bytes: Uint8Array.from([text.length, ...text]) })
  }
  return answers.some((record) => record.type === question.type)
    ? { answers }
    : { answers, authorities: soa(question, entry.negativeTtl) }
}

const soa = (question: Question, ttl: number | undefined): ReadonlyArray<ResourceRecord> =>
  ttl === undefined
    ? []
    : [
        {
          name: parentName(question.name),
          type: recordType.SOA,
          class: classInternet,
          ttl,
          data: {
            _tag: "Soa",
            mname: "ns.test",
            rname: "admin.test",
            serial: 1,
            refresh: 1,
            retry: 1,
            expire: 1,
            minimum: ttl
          }
        }
      ]

const bytesOf = (message: Message): Uint8Array => {
  const bytes = encode(message)
  if (bytes === null) throw new Error(`the zone makes an answer that cannot be written: ${JSON.stringify(message)}`)
  return bytes
}
