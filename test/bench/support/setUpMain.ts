/**
 * A client that asks for a name and reads the first byte of what it stands for. Argument: the DNS server. For each line
 * of input, a name, prints `{"dns","first"}`: milliseconds from the question to its answer and to that byte.
 */
import { createSocket } from "node:dgram"
import { once } from "node:events"
import { connect } from "node:net"
import process from "node:process"
import { createInterface } from "node:readline"
import { decode } from "../../../src/dns/decode.ts"
import { isMalformed } from "../../../src/dns/message.ts"
import { encodeQuery, readAddresses } from "../../../src/dns/query.ts"
import { recordType } from "../../../src/dns/registry.ts"

const server = process.argv[2]!
const patienceMs = 8_000

const socket = createSocket("udp4")
let id = 0

const addressOf = async (name: string): Promise<string> => {
  const query = encodeQuery({ id: ++id, domain: name, type: recordType.A }, true)!
  socket.send(query, 53, server)
  const [reply] = (await once(socket, "message", { signal: AbortSignal.timeout(patienceMs) })) as [Buffer]
  const message = decode(reply)
  if (isMalformed(message)) throw new Error(`no answer for ${name}`)
  const answer = readAddresses(name, recordType.A, message)
  const [first] = answer._tag === "Addresses" ? answer.addresses : []
  if (first === undefined) throw new Error(`no address for ${name}: ${answer._tag}`)
  return first
}

const firstByte = async (address: string): Promise<void> => {
  const stream = connect({ host: address, port: 80, noDelay: true })
  stream.write("GET /bytes/1 HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
  await once(stream, "data", { signal: AbortSignal.timeout(patienceMs) })
  stream.destroy()
}

process.stdout.write(`"ready"\n`)
for await (const name of createInterface({ input: process.stdin })) {
  const begin = performance.now()
  const address = await addressOf(name)
  const dns = performance.now() - begin
  await firstByte(address)
  process.stdout.write(`${JSON.stringify({ dns, first: performance.now() - begin })}\n`)
}
process.exit(0)
