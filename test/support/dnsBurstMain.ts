/**
 * Child process: a client's program that asks a DNS server much. Arguments: how, server, number of questions, the names
 * with `%` for the number; prints one JSON object. `udp`: all at once from one socket, none repeated; `tcp`: all at once,
 * each on a connection of its own; `flood`: as many each second, for 5 s, and answers are not waited for.
 */
import { createSocket } from "node:dgram"
import { connect } from "node:net"
import { setTimeout as sleep } from "node:timers/promises"

const [how = "", server = "", number = "0", names = ""] = process.argv.slice(2)
const count = Number(number)
const patienceMs = 20_000
const floodSeconds = 5

const query = (id: number): Buffer => {
  const labels = names.replace("%", `${id}`).split(".")
  const name = labels.map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)]))
  return Buffer.concat([Buffer.from([(id >> 8) & 255, id & 255, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]), ...name, tail])
}
const tail = Buffer.from([0, 0, 1, 0, 1])

const codes: Record<string, number> = {}
let slowestMs = 0
const began = performance.now()
const answered = new Set<number>()
const note = (answer: Buffer): void => {
  const id = answer.readUInt16BE(0)
  if (answered.has(id)) return
  answered.add(id)
  const code = `${answer[3]! & 15}`
  codes[code] = (codes[code] ?? 0) + 1
  slowestMs = performance.now() - began
}
const untilAll = async (): Promise<void> => {
  while (answered.size < count && performance.now() - began < patienceMs) await sleep(5)
}

const ways: Record<string, () => Promise<void>> = {
  udp: async () => {
    const socket = createSocket({ type: "udp4", recvBufferSize: 1 << 20 })
    socket.on("message", note)
    for (let id = 0; id < count; id++) socket.send(query(id), 53, server)
    await untilAll()
  },
  tcp: async () => {
    for (let id = 0; id < count; id++) {
      const bytes = query(id)
      const socket = connect(53, server)
      socket.on("error", () => undefined)
      socket.on("data", (answer: Buffer) => note(answer.subarray(2)))
      // Not before all are there: none of them may be in another's place.
      socket.on("connect", () =>
        setTimeout(() => socket.write(Buffer.concat([Buffer.from([0, bytes.length]), bytes])), 500)
      )
    }
    await untilAll()
  },
  flood: async () => {
    const socket = createSocket("udp4")
    socket.on("message", note)
    for (let sent = 0; sent < count * floodSeconds; await sleep(5)) {
      const due = ((performance.now() - began) / 1_000) * count
      for (; sent < due; sent++) socket.send(query(sent), 53, server)
    }
  }
}

await ways[how]!()
process.stdout.write(JSON.stringify({ answered: answered.size, codes, slowestMs: Math.round(slowestMs) }))
process.exit()
