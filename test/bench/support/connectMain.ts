/**
 * Connections per second. `serve ADDRESS PORT` accepts; `ADDRESS PORT SECONDS` connects and resets, 32 at a time, and
 * prints how many it made.
 */
import { connect, createServer } from "node:net"
import process from "node:process"

const [first = "", second = "", third = ""] = process.argv.slice(2)
const atOnce = 32
/** A connection that takes longer failed. */
const patience = 3_000

if (first === "serve") {
  createServer((socket) => socket.on("error", () => undefined))
    .on("error", (error) => {
      throw error
    })
    .listen(Number(third), second, 4_096)
} else {
  const deadline = performance.now() + Number(third) * 1_000
  let made = 0
  let failed = 0
  const one = (): Promise<void> =>
    new Promise((resolve) => {
      const socket = connect({ host: first, port: Number(second), noDelay: true })
      const timer = setTimeout(() => socket.destroy(new Error("timed out")), patience)
      socket.on("connect", () => {
        made++
        socket.resetAndDestroy()
      })
      socket.on("error", () => failed++)
      socket.on("close", () => {
        clearTimeout(timer)
        resolve()
      })
    })
  const worker = async (): Promise<void> => {
    while (performance.now() < deadline) await one()
  }
  const start = performance.now()
  await Promise.all(Array.from({ length: atOnce }, worker))
  process.stdout.write(`${JSON.stringify({ made, failed, seconds: (performance.now() - start) / 1_000 })}\n`)
}
