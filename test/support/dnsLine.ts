/**
 * Who was served before whom at the gateway's DNS server, from what went over the tunnel's device: counted in answers, not
 * in time, so that it says the same on a machine that has no time for anybody.
 */
import { Effect, Schedule } from "effect"
import { readFileSync } from "node:fs"
import { maxQuestions } from "../../src/nat/UnansweredQuestions.ts"
import { Lab } from "../../src/lab/demo/Lab.ts"
import { dnsHeader, ipView, tcpData, udpData } from "../../src/lab/demo/packets.ts"
import { protocolUdp } from "../../src/packet/protocols.ts"

/** What a flood got while one question by UDP waited for its answer. */
export interface DnsTurn {
  /** Questions of the flood by UDP that had no answer when it came. */
  readonly waiting: number
  /** Answers to the flood that left first; those by TCP as many as are as long as the one's own. */
  readonly ahead: number
}

/** Watches two clients (tunnel IPv4 addresses) from now on, until `stop` tells what came of each answered question of the one. */
export const watchDnsLine = Effect.fnUntraced(function* (one: string, flood: string) {
  const lab = yield* Lab
  const file = `${lab.directory}/dns-${yield* Effect.sync(() => performance.now())}.pcap`
  const options = ["-s", "96", "-B", "16384", "-Z", "root", "--immediate-mode", "-U"]
  const what = `port 53 and (host ${one} or host ${flood})`
  const watching = yield* lab.spawn("gateway", ["tcpdump", "-i", "sallyport0", ...options, "-w", file, what])
  yield* Effect.repeat(watching.output, {
    until: (output) => output.includes("listening on"),
    schedule: Schedule.spaced("50 millis"),
    times: 400
  })
  return { stop: Effect.map(watching.stop, () => readTurns(readFileSync(file), one, flood)) }
})

const readTurns = (pcap: Buffer, one: string, flood: string): ReadonlyArray<DnsTurn> => {
  const turns: Array<DnsTurn> = []
  let waiting = 0
  let mine: { readonly id: number; readonly waiting: number; answers: number; bytes: number } | null = null
  for (const { bytes, length } of packetsOf(pcap)) {
    const ip = ipView(bytes)
    if (ip === undefined) continue
    const data = ip.protocol === protocolUdp ? udpData(ip) : tcpData(ip)
    const carried = length - (bytes.length - data.length)
    const header = ip.protocol === protocolUdp ? dnsHeader(data) : undefined
    if (ip.source === flood && header !== undefined) waiting = Math.min(waiting + 1, mostOfOne)
    if (ip.destination === flood) {
      if (header === undefined) {
        if (mine !== null) mine.bytes += carried
        continue
      }
      waiting = Math.max(0, waiting - 1)
      if (mine !== null) mine.answers++
    }
    if (ip.source === one && header !== undefined) mine = { id: header.id, waiting, answers: 0, bytes: 0 }
    if (ip.destination === one && mine !== null && header?.id === mine.id) {
      turns.push({ waiting: mine.waiting, ahead: mine.answers + Math.ceil(mine.bytes / carried) })
      mine = null
    }
  }
  return turns
}

/** Unanswered questions that the engine lets one client have. */
const mostOfOne = maxQuestions / 2

/** The records of a little-endian file whose packets begin with their IP header (LINKTYPE_RAW). */
function* packetsOf(pcap: Buffer): Iterable<{ readonly bytes: Uint8Array; readonly length: number }> {
  for (let at = 24; at + 16 <= pcap.length;) {
    const end = at + 16 + pcap.readUInt32LE(at + 8)
    if (end > pcap.length) return
    yield { bytes: pcap.subarray(at + 16, end), length: pcap.readUInt32LE(at + 12) }
    at = end
  }
}
