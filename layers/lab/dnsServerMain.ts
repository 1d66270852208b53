/**
 * The company's name server, as a child process in the lab: it answers from a table, and it can be down in the ways
 * that real ones are. Arguments: addresses to listen on. Own small wire format, on purpose not the gateway's codec, so
 * that the two cannot share a mistake.
 */
import { createSocket, type Socket } from "node:dgram"
import { isIPv4 } from "node:net"
import { after, number, type Parameters, serve, text, texts } from "./lineProtocol.ts"

/** `silent` reads queries and says nothing; `closed` has no socket, so that the kernel refuses (ICMP port unreachable). */
const modes = ["answer", "silent", "closed", "servfail", "refused"] as const
type Mode = (typeof modes)[number]

interface Entry {
  readonly a: ReadonlyArray<string>
  readonly aaaa: ReadonlyArray<string>
  readonly ttl: number
  /** Questions for it are read, and not answered. */
  readonly silent: boolean
}

const addresses = process.argv.slice(2)
const records = new Map<string, Entry>()
const queries = new Map<string, number>()
let sockets: Array<Socket> = []
let mode: Mode = "answer"
let delay = 0

const open = async (): Promise<void> => {
  sockets = await Promise.all(
    addresses.map(
      (address) =>
        new Promise<Socket>((resolve, reject) => {
          const socket = createSocket({ type: isIPv4(address) ? "udp4" : "udp6", reuseAddr: true })
          socket.on("error", reject)
          socket.on("message", (message, from) => {
            const reply = answer(message)
            if (reply !== undefined) after(delay, () => socket.send(reply, from.port, from.address))
          })
          socket.bind(53, address, () => resolve(socket))
        })
    )
  )
}

const setMode = async (wanted: string): Promise<void> => {
  const next = modes.find((known) => known === wanted)
  if (next === undefined) throw new Error(`no mode "${wanted}"`)
  if (next === "closed" && mode !== "closed") {
    for (const socket of sockets) socket.close()
    sockets = []
  } else if (next !== "closed" && sockets.length === 0) {
    await open()
  }
  mode = next
}

const setRecord = (p: Parameters): void => {
  records.set(text(p, "name"), {
    a: texts(p, "a"),
    aaaa: texts(p, "aaaa"),
    ttl: number(p, "ttl", 5),
    silent: p["silent"] === true
  })
}

/** A datagram on the wire that marks this moment for whoever captures: from the first address to port 9 of `to`. */
const mark = (p: Parameters): Promise<void> =>
  new Promise((resolve, reject) => {
    const socket = createSocket(isIPv4(addresses[0] ?? "") ? "udp4" : "udp6")
    socket.on("error", reject)
    socket.bind(0, addresses[0], () =>
      socket.send(text(p, "mark"), 9, text(p, "to"), (error) => {
        socket.close()
        if (error === null) resolve()
        else reject(error)
      })
    )
  })

/** The reply to a query with one question (RFC 1035 §4.1); none for what is no such query. */
const answer = (query: Buffer): Buffer | undefined => {
  if (query.length < 17 || (query[2]! & 0x80) !== 0 || query.readUInt16BE(4) !== 1) return undefined
  const labels: Array<string> = []
  let at = 12
  for (let length = query[at]!; length !== 0; length = query[at] ?? 0) {
    if (length > 63 || at + length >= query.length) return undefined
    labels.push(query.toString("latin1", at + 1, at + 1 + length))
    at += 1 + length
  }
  if (at + 5 > query.length) return undefined
  const name = labels.join(".").toLowerCase()
  const type = query.readUInt16BE(at + 1)
  queries.set(`${name} ${type}`, (queries.get(`${name} ${type}`) ?? 0) + 1)
  if (mode === "silent") return undefined
  const question = query.subarray(12, at + 5)
  if (mode === "servfail") return message(query, 2, question, [])
  if (mode === "refused") return message(query, 5, question, [])
  const entry = records.get(name)
  if (entry === undefined) return message(query, 3, question, [])
  if (entry.silent) return undefined
  const data = type === 1 ? entry.a.map(quad) : type === 28 ? entry.aaaa.map(groups) : []
  return message(
    query,
    0,
    question,
    data.map((bytes) => resource(type, entry.ttl, bytes))
  )
}

const message = (query: Buffer, rcode: number, question: Buffer, answers: ReadonlyArray<Buffer>): Buffer => {
  const header = Buffer.alloc(12)
  query.copy(header, 0, 0, 2)
  header.writeUInt16BE(0x8480 | ((query[2]! & 1) << 8) | rcode, 2)
  header.writeUInt16BE(1, 4)
  header.writeUInt16BE(answers.length, 6)
  const parts = [header, question, ...answers]
  if (answers.length > 0 || rcode === 2 || rcode === 5) return Buffer.concat(parts)
  header.writeUInt16BE(1, 8)
  return Buffer.concat([...parts, soa])
}

const resource = (type: number, ttl: number, data: Buffer): Buffer => {
  const head = Buffer.alloc(12)
  head.writeUInt16BE(0xc00c, 0)
  head.writeUInt16BE(type, 2)
  head.writeUInt16BE(1, 4)
  head.writeUInt32BE(ttl, 6)
  head.writeUInt16BE(data.length, 10)
  return Buffer.concat([head, data])
}

/** An SOA at the root with a negative TTL of one second (RFC 2308). */
const soa = ((): Buffer => {
  const data = Buffer.alloc(22)
  data.writeUInt32BE(1, 2)
  data.writeUInt32BE(1, 18)
  const record = resource(6, 1, data)
  return Buffer.concat([Buffer.from([0]), record.subarray(2)])
})()

const quad = (address: string): Buffer => Buffer.from(address.split(".").map(Number))

const groups = (address: string): Buffer => {
  const [head = "", tail] = address.split("::")
  const words = (half: string): Array<number> => (half === "" ? [] : half.split(":").map((g) => Number.parseInt(g, 16)))
  const front = words(head)
  const back = words(tail ?? "")
  const all = [...front, ...Array.from({ length: 8 - front.length - back.length }, () => 0), ...back]
  return Buffer.from(all.flatMap((word) => [word >>> 8, word & 255]))
}

await open()
serve({
  /** Changes any of: mode, delay (ms before an answer), one record; then leaves the mark, when one is asked for. */
  set: async (p) => {
    if (p["name"] !== undefined) setRecord(p)
    if (p["delay"] !== undefined) delay = number(p, "delay")
    if (p["mode"] !== undefined) await setMode(text(p, "mode"))
    if (p["mark"] !== undefined) await mark(p)
  },
  remove: (p) => void records.delete(text(p, "name")),
  /** Number of queries since the start by `name type`. */
  queries: () => Object.fromEntries(queries)
})
