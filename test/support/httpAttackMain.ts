/**
 * Everything that a peer can do to a small HTTP server, as a child process in the lab: `httpAttackMain.ts PORT HUNDREDS`, the
 * latter of connections that hold their places. Prints one line of JSON with what became of it.
 */
import { connect, type Socket } from "node:net"
import { setTimeout as sleep } from "node:timers/promises"

const [port = 0, hundreds = 0] = process.argv.slice(2).map(Number)

/** What comes until the peer ends or `timeout` is over; `hold`: nothing of it is read before. */
const ask = (request: string, { hold = false, timeout = 10_000 } = {}): Promise<string> =>
  new Promise((resolve) => {
    let text = ""
    const socket = connect(port, "127.0.0.1", () => socket.write(request))
    if (hold) socket.pause()
    else socket.on("data", (data) => (text += text.length < 100_000 ? data.toString("latin1") : ""))
    socket.on("error", () => {})
    // Who reads nothing does not see the end.
    const timer = setTimeout(() => socket.destroy(), timeout)
    socket.on("close", () => {
      clearTimeout(timer)
      resolve(text)
    })
  })
const get = (path: string, host = "localhost") => `GET ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`
const statuses = async (requests: ReadonlyArray<string>): Promise<ReadonlyArray<number>> =>
  Promise.all(requests.map(async (request) => Number(/^HTTP\/1\.1 (\d+)/.exec(await ask(request))?.[1] ?? 0)))

const foreign = await statuses(["/", "/metrics", "/events", "/dashboard.js"].map((path) => get(path, "evil.example")))
const odd = await statuses(
  ["/../../etc/passwd", "/%2e%2e/etc/passwd", "//metrics", "/metrics/", "/.", "/__proto__", "/dashboard.js%00"].map(
    (path) => get(path)
  )
)
const huge = await statuses([
  `GET / HTTP/1.1\r\nHost: localhost\r\nX: ${"x".repeat(1_000_000)}\r\n\r\n`,
  `GET /${"x".repeat(1_000_000)} HTTP/1.1\r\nHost: localhost\r\n\r\n`,
  `GET / HTTP/1.1\r\n${Array.from({ length: 50_000 }, (_, i) => `X${i}: 1\r\n`).join("")}\r\n`,
  "\u0000".repeat(1_000_000)
])
/** One connection is one question, however many are sent by it. */
const pipelined = (await ask(get("/metrics").repeat(1_500))).match(/HTTP\/1\.1 200/g)?.length ?? 0
/** Bodies that nobody reads. */
const bodies = await statuses(
  Array.from(
    { length: 16 },
    () => `POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\n${"x".repeat(1_000_000)}`
  )
)

// Who watches and reads nothing, who reads nothing at all, who sends letter by letter.
const deaf = Array.from({ length: 16 }, () => ask(get("/events"), { hold: true, timeout: 7_000 }))
const slow = Array.from({ length: 32 }, () => ask(get("/metrics"), { hold: true, timeout: 7_000 }))
const letters = Array.from({ length: 16 }, async () => {
  const socket = connect(port, "127.0.0.1")
  socket.on("error", () => {})
  for (const letter of get("/")) {
    if (socket.destroyed) return
    socket.write(letter)
    await sleep(300)
  }
})

await sleep(1_000)

/** Connections that only hold their places. */
const held = new Set<Socket>()
let opened = 0
const hold = (): Promise<void> =>
  new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => {
      opened++
      held.add(socket)
      socket.write("GET / HTTP/1.1\r\n")
      resolve()
    })
    socket.on("error", () => resolve())
    socket.on("close", () => held.delete(socket))
  })
let served = 0
for (let i = 0; i < hundreds; i++) {
  await Promise.all(Array.from({ length: 100 }, hold))
  if (i % 10 === 9) {
    // Others that come at the same moment may take its place.
    for (let again = 0; again < 20; again++) {
      if (!(await ask(get("/healthz"))).startsWith("HTTP/1.1 200")) continue
      served++
      break
    }
  }
}
await Promise.all([...deaf, ...slow, ...letters])
const left = held.size
for (const socket of held) socket.destroy()
process.stdout.write(`${JSON.stringify({ foreign, odd, huge, pipelined, bodies, opened, served, left })}\n`)
