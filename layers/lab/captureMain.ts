/**
 * Child process of the lab, started inside a network namespace: prints one JSON line per captured packet until its
 * standard input ends. Arguments: names of the devices to report; none means all. It never returns to the event loop,
 * so that no packet waits for one.
 */
import { writeSync } from "node:fs"
import { openPacketSocket } from "../dataplane/native/capture.ts"

const devices = new Set(process.argv.slice(2))
const socket = openPacketSocket(256)
const say = (value: unknown): void => writeAll(`${JSON.stringify(value)}\n`)

const writeAll = (text: string): void => {
  let rest = Buffer.from(text)
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(1, rest))
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "EAGAIN")) process.exit(0)
      socket.wait(1)
    }
  }
}

say({ ready: true })
while (socket.wait(250)) {
  let packet = socket.next()
  let batch = ""
  while (packet !== undefined) {
    if (devices.size === 0 || devices.has(packet.device)) {
      batch += `${JSON.stringify({
        time: packet.time,
        device: packet.device,
        outgoing: packet.outgoing,
        length: packet.length,
        bytes: Buffer.from(packet.bytes).toString("base64")
      })}\n`
      if (batch.length > 32_768) {
        writeAll(batch)
        batch = ""
      }
    }
    packet = socket.next()
  }
  writeAll(batch)
  const lost = socket.lost()
  if (lost > 0) say({ lost })
}
