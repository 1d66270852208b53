/**
 * What the gateway's own wire saw of each new client, by the kernel's time stamps: no wake-up of the load generator is
 * in it. Runs in the gateway's namespace, looks at its packets in gulps so that it takes no processor from those it
 * measures, and prints `WireTimes` at the first line of standard input.
 */
import { once } from "node:events"
import { openPacketSocket } from "../../../layers/dataplane/native/capture.ts"
import { gatewayPort } from "../../../src/lab/demo/tunnel.ts"
import type { WireTimes } from "./wireTimes.ts"

/** The socket has room for seconds of this load. */
const gulpMs = 100
const snap = 64
const deviceName = "outer"
/** Type, receiver, counter and tag around nothing. */
const keepaliveBytes = 32
const typeInitiation = 1
const typeResponse = 2
const typeData = 4
const protocolUdp = 17

interface Data {
  readonly at: number
  readonly bytes: number
}

/** When they passed, in milliseconds: the first handshake (0: none yet), and everything that is asked and answered inside. */
interface Flow {
  initiation: number
  response: number
  readonly queries: Array<Data>
  readonly answers: Array<Data>
}

const flows = new Map<string, Flow>()
const socket = openPacketSocket(snap)
let lost = 0

const flowOf = (key: string): Flow => {
  const known = flows.get(key)
  if (known !== undefined) return known
  const flow: Flow = { initiation: 0, response: 0, queries: [], answers: [] }
  flows.set(key, flow)
  return flow
}

const note = ({ bytes, device, outgoing, time }: NonNullable<ReturnType<typeof socket.next>>): void => {
  if (device !== deviceName || bytes[0]! >>> 4 !== 4 || bytes[9] !== protocolUdp) return
  const packet = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  const udp = (packet[0]! & 15) * 4
  if (packet.readUInt16BE(udp + (outgoing ? 0 : 2)) !== gatewayPort) return
  const address = packet.readUInt32BE(outgoing ? 16 : 12)
  const flow = flowOf(`${address} ${packet.readUInt16BE(udp + (outgoing ? 2 : 0))}`)
  const payload = packet.readUInt16BE(udp + 4) - 8
  const at = Number(time.slice(0, -6)) + Number(time.slice(-6)) / 1e6
  const type = packet[udp + 8]
  if (type === typeInitiation && !outgoing) flow.initiation ||= at
  else if (type === typeResponse && outgoing) flow.response ||= at
  else if (type === typeData && payload > keepaliveBytes) {
    flow[outgoing ? "answers" : "queries"].push({ at, bytes: payload })
  }
}

const gulp = (): void => {
  for (let packet = socket.next(); packet !== undefined; packet = socket.next()) note(packet)
  lost += socket.lost()
}

const timer = setInterval(gulp, gulpMs)
process.stdout.write("ready\n")
await once(process.stdin, "data")
clearInterval(timer)
gulp()
const begun = Math.min(...Array.from(flows.values(), (flow) => flow.initiation || Infinity))
const sample = (from: number, to: number | undefined): WireTimes["handshakes"] =>
  from === 0 || to === undefined || to === 0 ? [] : [[(from - begun) / 1_000, to - from]]
/** The kernel may hand on several as one, the first ones as well: the shortest is a single one. */
const single = (data: ReadonlyArray<Data>): ReadonlyArray<number> => {
  const length = data.reduce((least, { bytes }) => Math.min(least, bytes), Infinity)
  return data.flatMap(({ at, bytes }) => Array.from({ length: Math.round(bytes / length) }, () => at))
}
const all = Array.from(flows.values(), ({ answers, queries, ...flow }) => ({
  ...flow,
  queries: single(queries),
  answers: single(answers)
}))
const times: WireTimes = {
  handshakes: all.flatMap(({ initiation, response }) => sample(initiation, response)),
  // In the order in which they came: one that was lost would show as such at its sender.
  queries: all.flatMap(({ answers, queries }) => queries.flatMap((at, i) => sample(at, answers[i]))),
  begunAt: begun,
  lost
}
process.stdout.write(`${JSON.stringify(times)}\n`)
process.stdin.destroy()
