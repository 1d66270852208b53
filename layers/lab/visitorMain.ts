/**
 * A user on the client host, as a child process in the lab: asks names, opens pages, downloads, uploads. It uses the
 * kernel's own network stack, so what it sees is what any program on a client sees.
 */
import { createCipheriv, createHash, type Hash, randomInt } from "node:crypto"
import { createSocket, type Socket } from "node:dgram"
import { type ClientRequest, request } from "node:http"
import { connect, isIPv4 } from "node:net"
import { setTimeout as sleep } from "node:timers/promises"
import type { Page } from "../../src/lab/demo/company.ts"
import { after, codeOf, number, type Parameters, serve, text } from "./lineProtocol.ts"

/** Talks by UDP until `use` ends it, or with what `late` says after the time-out. */
const talk = (
  address: string,
  timeout: number,
  late: () => unknown,
  use: (socket: Socket, end: (result: unknown) => void) => void
): Promise<unknown> =>
  new Promise((done, fail) => {
    const socket = createSocket(isIPv4(address) ? "udp4" : "udp6")
    const close = (): void => {
      cancel()
      socket.close()
    }
    const end = (result: unknown): void => {
      close()
      done(result)
    }
    const cancel = after(timeout, () => end(late()))
    socket.on("error", (error) => {
      close()
      fail(error)
    })
    use(socket, end)
  })

/** Asks `server` for one name by UDP and yields what came back; resends nothing: one query, one wait. */
const resolve = (p: Parameters): Promise<unknown> => {
  const server = text(p, "server")
  const type = text(p, "type") === "AAAA" ? 28 : 1
  const id = randomInt(65_536)
  const query = encodeQuery(id, text(p, "name"), type)
  const late = () => ({ id, answered: false })
  return talk(server, number(p, "timeout", 5000), late, (socket, end) => {
    socket.on("message", (message) => {
      if (message.length < 12 || message.readUInt16BE(0) !== id) return
      end({ id, answered: true, rcode: message[3]! & 15, addresses: addressesOf(message) })
    })
    socket.send(query, number(p, "port", 53), server)
  })
}

const encodeQuery = (id: number, name: string, type: number): Buffer => {
  const labels = name.split(".").map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)]))
  const head = Buffer.alloc(12)
  head.writeUInt16BE(id, 0)
  head.writeUInt16BE(0x0100, 2)
  head.writeUInt16BE(1, 4)
  return Buffer.concat([head, ...labels, Buffer.from([0, 0, type, 0, 1])])
}

/** Addresses of all A and AAAA answers, in the order given. */
const addressesOf = (message: Buffer): Array<string> => {
  let at = 12
  const skipName = (): void => {
    while (at < message.length) {
      const length = message[at]!
      if (length >= 192) {
        at += 2
        return
      }
      at += 1 + length
      if (length === 0) return
    }
  }
  for (let n = message.readUInt16BE(4); n > 0; n--) {
    skipName()
    at += 4
  }
  const found: Array<string> = []
  for (let n = message.readUInt16BE(6); n > 0 && at < message.length; n--) {
    skipName()
    const type = message.readUInt16BE(at)
    const length = message.readUInt16BE(at + 8)
    const data = message.subarray(at + 10, at + 10 + length)
    if (type === 1) found.push(data.join("."))
    if (type === 28) found.push(Array.from({ length: 8 }, (_, i) => data.readUInt16BE(i * 2).toString(16)).join(":"))
    at += 10 + length
  }
  return found
}

/**
 * Opens a TCP connection and closes it; `{ok}` or the error's code. A refusal by ICMP wakes the program a moment before the
 * kernel (6.18) has its error, about once in a hundred times: then there is no error yet, and nobody at the other end.
 */
const tryConnect = (p: Parameters): Promise<unknown> =>
  new Promise((done) => {
    const socket = connect({ host: text(p, "address"), port: number(p, "port", 80) })
    const end = (result: unknown): void => {
      socket.destroy()
      done(result)
    }
    socket.setTimeout(number(p, "timeout", 5000), () => end({ ok: false, code: "ETIMEDOUT" }))
    socket.on("connect", () => {
      if (socket.remoteAddress !== undefined) end({ ok: true, localPort: socket.localPort })
    })
    socket.on("error", (error: NodeJS.ErrnoException) => end({ ok: false, code: error.code }))
    socket.on("close", () => end({ ok: false, code: "ENOTCONN" }))
  })

/** Where a request goes, and the port it comes from when the caller wants a certain one. */
const to = (p: Parameters) => ({
  host: text(p, "address"),
  port: number(p, "port", 80),
  ...(p["localPort"] === undefined ? {} : { localPort: number(p, "localPort") }),
  agent: false
})

/** One request on a connection of its own; `upload` sends its body. */
const fetchPage = (p: Parameters, upload?: (sent: ClientRequest) => void): Promise<Page> =>
  new Promise((done, fail) => {
    const sent = request({
      ...to(p),
      path: p["path"] === undefined ? "/" : text(p, "path"),
      method: upload === undefined ? "GET" : "POST",
      timeout: number(p, "timeout", 5000)
    })
    sent.on("timeout", () => sent.destroy(new Error("ETIMEDOUT")))
    sent.on("error", fail)
    sent.on("response", (response) => {
      const hash = createHash("sha256")
      let bytes = 0
      let beginning = ""
      response.on("data", (chunk: Buffer) => {
        hash.update(chunk)
        bytes += chunk.length
        if (beginning.length < 1000) beginning += chunk.toString("latin1", 0, 1000)
      })
      response.on("error", fail)
      response.on("end", () =>
        done({
          status: response.statusCode ?? 0,
          servedBy: String(response.headers["x-served-by"] ?? ""),
          bytes,
          sha256: hash.digest("hex"),
          expected: response.headers["x-sha256"]?.toString() ?? null,
          text: beginning
        })
      )
    })
    if (upload === undefined) sent.end()
    else upload(sent)
  })

/** Tries every `every` ms, each try on a new connection, until a page comes (from `servedBy`, when given). */
const retryPage = async (p: Parameters): Promise<unknown> => {
  const end = performance.now() + number(p, "deadline")
  const errors: Record<string, number> = {}
  for (let tries = 1; ; tries++) {
    const started = performance.now()
    let problem = "another server answered"
    try {
      const page = await fetchPage({ ...p, timeout: Math.max(100, Math.min(2000, end - started)) })
      if (p["servedBy"] === undefined || page.servedBy === p["servedBy"]) return { tries, errors, page }
    } catch (error) {
      problem = codeOf(error)
    }
    errors[problem] = (errors[problem] ?? 0) + 1
    if (performance.now() > end) return { tries, errors, page: null }
    await sleep(Math.max(0, number(p, "every", 100) - (performance.now() - started)))
  }
}

const uploadBytes = async (p: Parameters): Promise<unknown> => {
  const cipher = createCipheriv("aes-128-ctr", Buffer.alloc(16, 2), Buffer.alloc(16))
  const body = cipher.update(Buffer.alloc(number(p, "bytes")))
  return uploaded(await fetchPage(p, (sent) => sent.end(body)), createHash("sha256").update(body))
}

const uploaded = (page: Page, sent: Hash): unknown => {
  const received: { bytes: number; sha256: string } = JSON.parse(page.text)
  return { sent: sent.digest("hex"), ...received }
}

/** Each ends its upload. */
const uploads = new Map<string, () => Promise<unknown>>()

/** Begins an upload of ten lines a second: the flow in which only the client talks. */
const openUpload = (p: Parameters): void => {
  const said = createHash("sha256")
  let end = (): void => {}
  const page = fetchPage({ ...p, timeout: 120_000 }, (sent) => {
    const timer = setInterval(() => {
      const line = `${performance.now()}\n`
      said.update(line)
      sent.write(line)
    }, 100)
    end = () => {
      clearInterval(timer)
      sent.end()
    }
  })
  // Told to who ends it.
  page.catch(() => {})
  uploads.set(text(p, "id"), async () => {
    end()
    return uploaded(await page, said)
  })
}

interface Drip {
  readonly lines: Array<string>
  ended: string | null
  readonly close: () => void
}

const drips = new Map<string, Drip>()

/** Opens an endless page and keeps reading it: the long-running flow. */
const openDrip = (p: Parameters): Promise<unknown> =>
  new Promise((done, fail) => {
    const sent = request({ ...to(p), path: "/drip" })
    const drip: Drip = { lines: [], ended: null, close: () => void sent.destroy() }
    const cancel = after(number(p, "timeout", 5000), () => sent.destroy(new Error("ETIMEDOUT")))
    drips.set(text(p, "id"), drip)
    sent.on("error", (error) => {
      drip.ended ??= error.message
      fail(error)
    })
    sent.on("response", (response) => {
      cancel()
      response.on("data", (chunk: Buffer) => drip.lines.push(...chunk.toString("latin1").trimEnd().split("\n")))
      response.on("error", (error) => (drip.ended ??= error.message))
      response.on("close", () => (drip.ended ??= "closed"))
      done({ localPort: response.socket.localPort })
    })
    sent.end()
  })

const readDrip = (p: Parameters): unknown => {
  const drip = drips.get(text(p, "id"))
  if (drip === undefined) throw new Error("no such drip")
  return { lines: drip.lines.length, last: drip.lines.at(-1) ?? null, ended: drip.ended }
}

/** Sends `count` datagrams to the echo port and counts what comes back unchanged. */
const echo = (p: Parameters): Promise<unknown> => {
  const address = text(p, "address")
  const count = number(p, "count", 1)
  const size = number(p, "size", 32)
  const seen = new Set<number>()
  const datagram = (index: number): Buffer => {
    const bytes = Buffer.alloc(size, index & 255)
    bytes.writeUInt32BE(index, 0)
    return bytes
  }
  const result = () => ({ sent: count, received: seen.size })
  return talk(address, number(p, "timeout", 3000), result, (socket, end) => {
    socket.on("message", (message) => {
      const index = message.length >= 4 ? message.readUInt32BE(0) : -1
      if (index >= 0 && index < count && message.equals(datagram(index))) seen.add(index)
      if (seen.size === count) end(result())
    })
    const sendAll = async (): Promise<void> => {
      for (let index = 0; index < count; index++) {
        socket.send(datagram(index), number(p, "port", 7), address)
        if (index % 16 === 15) await sleep(1)
      }
    }
    void sendAll()
  })
}

serve({
  resolve,
  connect: tryConnect,
  get: (p) => fetchPage(p),
  retry: retryPage,
  upload: uploadBytes,
  openUpload,
  closeUpload: (p) => uploads.get(text(p, "id"))?.(),
  drip: openDrip,
  readDrip,
  closeDrip: (p) => drips.get(text(p, "id"))?.close(),
  echo
})
