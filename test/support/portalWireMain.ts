/**
 * When a portal's requests reached the gateway's wire and its answers left, by the kernel's time stamps: reads the plain
 * WebSocket between them. A child process in the gateway's namespace; argument: the portal's port. Prints `ready`, and at
 * a line of input `{"requests","answers"}`: milliseconds from each request to its answer, in their order.
 */
import { once } from "node:events"
import { openPacketSocket } from "../../layers/dataplane/native/capture.ts"
import { WebSocketFrames } from "./webSocketFrames.ts"

const port = Number(process.argv[2])
const requests = new Set(["authorize_flow", "request_connection", "create_authorization"])
const answers = new Set(["flow_authorized", "connection_ready", "authorization_created"])
const socket = openPacketSocket(65_535)
const asked = new Map<string, number>()
const times: Array<number> = []
const streams = { in: new WebSocketFrames(), out: new WebSocketFrames() }

const note = ({ bytes, device, outgoing, time }: NonNullable<ReturnType<typeof socket.next>>): void => {
  if (device !== "outer" || bytes[0]! >>> 4 !== 4 || bytes[9] !== 6) return
  const packet = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  const tcp = (packet[0]! & 15) * 4
  if (packet.readUInt16BE(tcp + (outgoing ? 2 : 0)) !== port) return
  const data = packet.subarray(tcp + (packet[tcp + 12]! >>> 4) * 4, packet.readUInt16BE(2))
  const at = Number(time.slice(0, -6)) + Number(time.slice(-6)) / 1e6
  for (const text of streams[outgoing ? "out" : "in"].add(packet.readUInt32BE(tcp + 4), data)) message(text, at)
}

const message = (text: string, at: number): void => {
  const { event, payload } = JSON.parse(text) as { event: string; payload: { ref?: string } | null }
  const ref = payload?.ref ?? ""
  if (requests.has(event)) asked.set(ref, at)
  else if (answers.has(event) && asked.has(ref)) times.push(at - asked.get(ref)!)
}

const gulp = (): void => {
  for (let packet = socket.next(); packet !== undefined; packet = socket.next()) note(packet)
}

console.log("ready")
const timer = setInterval(gulp, 100)
await once(process.stdin, "data")
clearInterval(timer)
gulp()
console.log(JSON.stringify({ requests: asked.size, answers: times, lost: socket.lost() }))
process.exit(0)
