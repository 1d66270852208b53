/**
 * Child process for the hostile tests: what a bad neighbour or a bad client sends. The first argument names the attack;
 * prints one JSON object at the end.
 */
import { randomBytes, randomInt } from "node:crypto"
import { createSocket } from "node:dgram"
import { connect, createServer } from "node:net"
import { setTimeout as sleep } from "node:timers/promises"

const [attack = "", target = "", ...rest] = process.argv.slice(2)
const socket = createSocket("udp4")
let replies = 0
socket.on("error", () => {})
socket.on("message", () => replies++)
await new Promise<void>((resolve) => socket.bind(0, resolve))

const send = (bytes: Uint8Array, port: number): Promise<void> =>
  new Promise((resolve) => socket.send(bytes, port, target, () => resolve()))

/** Sends `perSecond` datagrams a second; `make` gets the number of the datagram. */
const stream = async (count: number, perSecond: number, make: (index: number) => [Uint8Array, number]) => {
  const started = performance.now()
  for (let sent = 0; sent < count;) {
    const due = Math.min(count, Math.ceil(((performance.now() - started) / 1000) * perSecond))
    for (; sent < due; sent++) socket.send(...make(sent), target)
    await sleep(5)
  }
}

const query = (name: string): Buffer => {
  const labels = name.split(".").map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)]))
  const head = Buffer.from([0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0])
  head.writeUInt16BE(randomInt(65_536), 0)
  return Buffer.concat([head, ...labels, Buffer.from([0, 0, 1, 0, 1])])
}

const attacks: Record<string, () => Promise<unknown>> = {
  /** Datagrams of every awkward length and type, and as many of pure chance. */
  datagrams: async () => {
    const port = Number(rest[0])
    const lengths = [0, 1, 3, 4, 15, 16, 31, 32, 33, 63, 64, 65, 91, 92, 93, 147, 148, 149, 1500, 9000, 65_507]
    let sent = 0
    for (const length of lengths) {
      for (const type of [0, 1, 2, 3, 4, 5, 255]) {
        const bytes = randomBytes(length)
        bytes.set([type, 0, 0, 0].slice(0, length))
        await send(bytes, port)
        sent++
      }
    }
    for (let i = 0; i < 2000; i++, sent++) await send(randomBytes(randomInt(1400)), port)
    return { sent, replies }
  },

  /** Garbage, answers, loops of pointers and many questions by UDP; the same and half messages by TCP. */
  dns: async () => {
    const loop = Buffer.from([9, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1])
    const many = Buffer.concat([Buffer.from([9, 9, 1, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0]), Buffer.alloc(400, 0xc0)])
    const response = query("app.corp.internal")
    response[2] = 0x81
    const odd = [loop, many, response, Buffer.alloc(12), Buffer.alloc(1200, 0xff)]
    for (const bytes of odd) await send(bytes, 53)
    // Not in one burst: what a full socket drops is nobody's answer to garbage.
    await stream(500, 1000, () => [randomBytes(randomInt(1200)), 53])
    for (let i = 0; i < 20; i++) {
      await new Promise<void>((resolve) => {
        const tcp = connect(53, target, () => tcp.write(randomBytes(1 + randomInt(2000)), () => tcp.destroy()))
        tcp.on("error", () => resolve())
        tcp.on("close", () => resolve())
      })
    }
    return { sent: odd.length + 500, replies }
  },

  /** `rest`: questions per second, seconds. Every name is another one. */
  questions: async () => {
    const [perSecond = 0, seconds = 0] = rest.map(Number)
    await stream(perSecond * seconds, perSecond, (i) => [query(`n${i}.svc.corp.internal`), 53])
    await sleep(500)
    return { sent: perSecond * seconds, replies }
  },

  /** `rest`: questions per second, seconds. It is the same name each time. */
  known: async () => {
    const [perSecond = 0, seconds = 0] = rest.map(Number)
    await stream(perSecond * seconds, perSecond, () => [query("app.corp.internal"), 53])
    await sleep(500)
    return { sent: perSecond * seconds, replies }
  },

  /** `rest`: connections, seconds. Each is sent questions as fast as it takes them. */
  pipelined: async () => {
    const [connections = 0, seconds = 0] = rest.map(Number)
    const question = query("app.corp.internal")
    const framed = Buffer.concat([Buffer.from([0, question.length]), question])
    const many = Buffer.concat(Array.from({ length: 100 }, () => framed))
    let sent = 0
    const all = Array.from({ length: connections }, () => {
      const tcp = connect(53, target)
      const fill = (): void => {
        do sent += 100
        while (tcp.write(many))
      }
      tcp.on("error", () => {})
      tcp.on("connect", fill)
      tcp.on("drain", fill)
      tcp.on("data", () => replies++)
      return tcp
    })
    await sleep(seconds * 1_000)
    for (const tcp of all) tcp.destroy()
    return { sent, replies }
  },

  /** `rest`: datagrams per second, seconds. Each has the head of a query and asks nothing that can be read. */
  malformed: async () => {
    const [perSecond = 0, seconds = 0] = rest.map(Number)
    const head = Buffer.from([9, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0])
    await stream(perSecond * seconds, perSecond, () => [Buffer.concat([head, randomBytes(20)]), 53])
    return { sent: perSecond * seconds, replies }
  },

  /** `rest`: first and last port, datagrams per second. */
  scan: async () => {
    const [from = 0, to = 0, perSecond = 0] = rest.map(Number)
    await stream(to - from + 1, perSecond, (i) => [Buffer.from("?"), from + i])
    return { sent: to - from + 1, replies }
  },

  /** Opens a connection to port `rest`, says so, and keeps it; never ends by itself. */
  hold: () =>
    new Promise(() => {
      const tcp = connect(Number(rest[0]), target, () => process.stdout.write("connected\n"))
      tcp.on("error", (error) => process.stdout.write(`${error.message}\n`))
    }),

  /** Listens where an sshd would, on every address, and prints a line for each connection; never ends by itself. */
  listen: async () => {
    for (const host of ["0.0.0.0", "::"]) {
      const server = createServer((tcp) => {
        process.stdout.write(`connection from ${tcp.remoteAddress} to ${tcp.localAddress}\n`)
        tcp.on("error", () => {})
        tcp.end("SSH-2.0-lab\r\n")
      })
      await new Promise<void>((resolve) => server.listen({ port: 22, host, ipv6Only: true }, () => resolve()))
    }
    process.stdout.write("listening\n")
    return new Promise(() => {})
  }
}

const result = await attacks[attack]!()
socket.close()
process.stdout.write(`${JSON.stringify(result)}\n`)
