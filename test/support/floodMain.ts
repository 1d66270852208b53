/**
 * Child process of the flood: junk that looks like WireGuard initiations, from as many source addresses as it is told.
 * Arguments: target, port, first source address (IPv4), number of sources, packets per second, seconds, and the
 * target's public key when the first MAC shall be right (so that only the cookie can stop it).
 */
import { blake2s } from "@noble/hashes/blake2.js"
import { randomBytes } from "node:crypto"
import { createSocket, type Socket } from "node:dgram"
import { setTimeout as sleep } from "node:timers/promises"

const [target = "", port = "51820", first = "", sources = "1", rate = "1000", seconds = "1", publicKey] =
  process.argv.slice(2)

const macKey =
  publicKey === undefined
    ? undefined
    : blake2s(Buffer.concat([Buffer.from("mac1----"), Buffer.from(publicKey, "base64")]))

/** Message type 1 of 148 bytes; mac1 covers the first 116 (WireGuard paper §5.4.4). */
const initiation = (): Buffer => {
  const message = randomBytes(148)
  message.writeUInt32LE(1, 0)
  if (macKey !== undefined) message.set(blake2s(message.subarray(0, 116), { key: macKey, dkLen: 16 }), 116)
  return message
}

const sourceAddress = (index: number): string => {
  const base = first.split(".").reduce((sum, octet) => sum * 256 + Number(octet), 0)
  const value = base + index
  return [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join(".")
}

/** Made ahead: each costs more than to send it. */
const messages = Array.from({ length: 2_000 }, initiation)
let replies = 0
const open = (index: number): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = createSocket("udp4")
    socket.on("error", reject)
    socket.on("message", () => replies++)
    socket.bind(0, sourceAddress(index), () => resolve(socket))
  })

const sockets = await Promise.all(Array.from({ length: Number(sources) }, (_, index) => open(index)))
const started = performance.now()
let sent = 0
while (performance.now() - started < Number(seconds) * 1000) {
  const due = Math.floor(((performance.now() - started) / 1000) * Number(rate))
  for (; sent < due; sent++)
    sockets[sent % sockets.length]?.send(messages[sent % messages.length]!, Number(port), target)
  await sleep(5)
}
await sleep(200)
for (const socket of sockets) socket.close()
process.stdout.write(`${JSON.stringify({ sent, replies })}\n`)
