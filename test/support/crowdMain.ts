/**
 * Many users on the lab's client host: each is a WireGuard client of its own, and their connections are the kernel's, which
 * leave by one TUN device with the tunnel address of whoever opened them. Each downloads as fast as it is allowed to.
 */
import { execFileSync } from "node:child_process"
import { createHash } from "node:crypto"
import { Resolver } from "node:dns/promises"
import { readFileSync, readSync, writeFileSync, writeSync } from "node:fs"
import { type IncomingMessage, request } from "node:http"
import { setTimeout as sleep } from "node:timers/promises"
import { NativeError } from "../../layers/dataplane/native/nativeError.ts"
import { openTun } from "../../layers/dataplane/native/fds.ts"
import { codeOf, number, serve, text } from "../../layers/lab/lineProtocol.ts"
import { labAddresses } from "../../src/lab/demo/Lab.ts"
import { tunnelAddresses } from "../../src/lab/demo/tunnel.ts"
import { Fleet, type FleetJob, type Member } from "../bench/support/fleet.ts"

/** Packets that are taken from the device at a time. */
const mostAtOnce = 256
const device = "crowd"
const connectMs = 20_000

const job = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as FleetJob
const fleet = await Fleet.open(job)
const tun = openTun(device, { vnetHeader: false })
if (tun instanceof NativeError) throw tun
// A connection that is not read from waits at the server, and not in buffers here.
writeFileSync("/proc/sys/net/ipv4/tcp_rmem", "4096 16384 16384")
const addresses = job.clients.map(({ tunnel4 }) => `address add ${tunnel4}/32 dev ${device}`)
const routes = [tunnelAddresses.networks[0], labAddresses.inner.network.v4].map((to) => `route add ${to} dev ${device}`)
execFileSync("ip", ["-batch", "-"], {
  input: [`link set ${device} up mtu 1280`, ...addresses, ...routes, ""].join("\n"),
  timeout: 10_000
})

const byAddress = new Map<string, Member>()
for (const member of fleet.members) {
  byAddress.set(member.tunnel4, member)
  member.onPacket = (packet) => void writeSync(tun.fd, packet)
}
const packet = Buffer.alloc(2_048)
const pump = (): void => {
  fleet.tick()
  try {
    for (let n = 0; n < mostAtOnce; n++) {
      const length = readSync(tun.fd, packet)
      const member = byAddress.get(packet.subarray(12, 16).join("."))
      if (member !== undefined && member.connectedAt > 0) member.send(packet.subarray(0, length))
    }
  } catch (error) {
    if (codeOf(error) !== "EAGAIN") throw error
  }
}
setInterval(pump, 1)

const connectAll = async (): Promise<number> => {
  const until = performance.now() + connectMs
  const missing = () => fleet.members.filter(({ connectedAt }) => connectedAt === 0)
  while (missing().length > 0 && performance.now() < until) {
    for (const member of missing()) {
      member.connect()
      await sleep(5)
    }
    await sleep(1_000)
  }
  return fleet.members.length - missing().length
}

interface Download {
  received: number
  /** `whole`, `wrong`, or the code of an error; `null`: it goes on. */
  end: string | null
  response: IncomingMessage | null
}
const downloads: Array<Download> = []
let allowed = 0

const download = (member: Member, address: string, bytes: number): void => {
  const state: Download = { received: 0, end: null, response: null }
  downloads.push(state)
  const hash = createHash("sha256")
  const fail = (error: Error): void => void (state.end ??= codeOf(error))
  const options = { host: address, path: `/bytes/${bytes}`, localAddress: member.tunnel4, agent: false }
  const asked = request(options, (response) => {
    state.response = response
    response.on("data", (chunk: Buffer) => {
      hash.update(chunk)
      state.received += chunk.length
      if (state.received >= allowed) response.pause()
    })
    response.on("end", () => (state.end ??= hash.digest("hex") === response.headers["x-sha256"] ? "whole" : "wrong"))
    response.on("error", fail)
  })
  asked.on("error", fail)
  asked.end()
}

const memberOf = (n: number): Member => fleet.members[n]!

serve({
  connect: connectAll,
  resolve: async (p) => {
    const resolver = new Resolver({ timeout: 2_000, tries: 5 })
    resolver.setServers([tunnelAddresses.gateway.v4])
    resolver.setLocalAddress(memberOf(number(p, "client")).tunnel4)
    return (await resolver.resolve4(text(p, "name")))[0]
  },
  download: (p) => download(memberOf(number(p, "client")), text(p, "address"), number(p, "bytes")),
  /** So many bytes of each, counted from its beginning. */
  allow: (p) => {
    allowed = number(p, "bytes")
    for (const { received, response } of downloads) if (received < allowed) response?.resume()
  },
  downloads: () => downloads.map(({ end, received }) => ({ end, received }))
})
