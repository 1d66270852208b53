/**
 * The company's servers, as a child process in the lab: HTTP on ports 80 and 8080 and a UDP echo on port 7 of every address
 * given as argument. Each answer says which address served it.
 */
import { createCipheriv, createHash } from "node:crypto"
import { createSocket } from "node:dgram"
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http"
import { isIPv4 } from "node:net"
import { setTimeout as sleep } from "node:timers/promises"
import { serve, text } from "./lineProtocol.ts"

const addresses = process.argv.slice(2)
const httpPorts = [80, 8080]
const servers = new Map<string, ReadonlyArray<Server>>()

/** Deterministic bytes: the same length always has the same content, and no two blocks of it are alike. */
const content = (length: number): Buffer =>
  createCipheriv("aes-128-ctr", Buffer.alloc(16, 1), Buffer.alloc(16)).update(Buffer.alloc(length))

const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex")

const handle = (request: IncomingMessage, response: ServerResponse): void => {
  const served = (request.socket.localAddress ?? "").replace(/^::ffff:/, "")
  const path = request.url ?? "/"
  // First header line, so that it is in the first bytes of the first packet.
  const head = (status: number, headers: Record<string, string | number>): ServerResponse =>
    response.writeHead(status, { "x-served-by": served, ...headers })
  if (request.method === "POST") {
    receive(request, (bytes, sum) => {
      head(200, { "content-type": "application/json" }).end(JSON.stringify({ bytes, sha256: sum }))
    })
    return
  }
  const wanted = /^\/bytes\/(\d{1,9})$/.exec(path)
  if (wanted !== null) {
    const body = content(Number(wanted[1]))
    head(200, { "x-sha256": sha256(body), "content-length": body.length }).end(body)
    return
  }
  if (path === "/drip") {
    head(200, { "content-type": "text/plain" })
    void drip(response, served)
    return
  }
  if (path !== "/") {
    head(404, {}).end("no such page\n")
    return
  }
  head(200, { "content-type": "text/plain" }).end(`The intranet, served by ${served}\n`)
}

/** A line every 100 ms for as long as somebody reads. */
const drip = async (response: ServerResponse, served: string): Promise<void> => {
  while (!response.destroyed) {
    response.write(`${served}\n`)
    await sleep(100)
  }
}

const receive = (request: IncomingMessage, done: (bytes: number, sum: string) => void): void => {
  const hash = createHash("sha256")
  let bytes = 0
  request.on("data", (chunk: Buffer) => {
    hash.update(chunk)
    bytes += chunk.length
  })
  request.on("end", () => done(bytes, hash.digest("hex")))
}

const openHttp = async (address: string): Promise<void> => {
  servers.set(address, await Promise.all(httpPorts.map((port) => listen(address, port))))
}

const listen = (address: string, port: number): Promise<Server> =>
  new Promise((resolve, reject) => {
    const server = createServer(handle)
    server.on("error", reject)
    server.listen(port, address, () => resolve(server))
  })

const openEcho = (address: string): Promise<void> =>
  new Promise((resolve, reject) => {
    const socket = createSocket(isIPv4(address) ? "udp4" : "udp6")
    socket.on("error", reject)
    socket.on("message", (message, from) => socket.send(message, from.port, from.address))
    socket.bind(7, address, resolve)
  })

await Promise.all(addresses.flatMap((address) => [openHttp(address), openEcho(address)]))
serve({
  /** Stops HTTP at one address: connections are refused from now on and the old ones are cut. */
  close: (p) => {
    for (const server of servers.get(text(p, "address")) ?? []) {
      server.close()
      server.closeAllConnections()
    }
    servers.delete(text(p, "address"))
  },
  open: (p) => openHttp(text(p, "address"))
})
