/**
 * The story of the demo: a client comes while the company's DNS is down, and everything ends well. Told line by line,
 * with times taken from packets on the wire; each step checks what it tells.
 */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import { contains, parseAddress, parseNetwork } from "../../packet/address.ts"
import type { DemoBreak } from "../../cli/Programs.ts"
import { defaultNetwork } from "../../config/GatewayConfig.ts"
import { type Gateway, startClient, startGateway, clientConf, gatewayPort, tunnelAddresses } from "./tunnel.ts"
import { type NameServer, startNameServer, startOrigins, startVisitor, type Visitor } from "./company.ts"
import { type Capture, Lab, labAddresses } from "./Lab.ts"
import {
  ascii,
  type CapturedPacket,
  dnsHeader,
  handshakeMessage,
  ipView,
  ports,
  tcpData,
  udpData,
  unreachable
} from "./packets.ts"
import { protocolTcp } from "../../packet/protocols.ts"
import { download } from "./download.ts"
import type { StoryFailed, StoryResult } from "./StoryResult.ts"
import { chapter, line, ms, step, wrong } from "./telling.ts"

const name = "app.corp.internal"
const { inner, outer } = labAddresses
/** How long the name server stays down while the client keeps trying. */
const outageSeconds = 5
const patience = { timeout: "2 seconds" } as const

/** What the promises are held to, in milliseconds. */
const limits = { accept: 1000, heal: 2000, move: 9000 }

interface Stage {
  readonly gateway: Gateway
  readonly nameServer: NameServer
  readonly visitor: Visitor
  readonly client: Capture
  readonly lan: Capture
  readonly measured: (part: Partial<StoryResult>) => void
}

/** Tells the whole story; `measured` gets the measurements, also of a story that fails later. */
export const tellStory = (
  fault: DemoBreak | null,
  measured: Stage["measured"]
): Effect.Effect<void, StoryFailed, Lab> =>
  Effect.scoped(
    Effect.gen(function* () {
      yield* Console.log(opening)
      const stage = yield* step("setup", setUp(fault, measured))
      const proxy = yield* step("accept", accept(stage))
      yield* step("icmp", answerAtOnce(stage, proxy))
      yield* step("heal", heal(stage, proxy))
      measured({ downloadedBytes: yield* step("download", download(stage.visitor, proxy)) })
      yield* step("move", move(stage, proxy))
      yield* Console.log(closing)
    })
  )

const opening = `
  A sally port lets you in at once, and holds you in a safe chamber until it knows where you may go.

  Three hosts on this machine:   client ──(WireGuard)── gateway ── company LAN (name server, two web servers)
  Every time below is the kernel's, from packets on the wire.
`

const closing = `
  That was all of it: let in at once, told the truth, healed by itself, and nobody's connection was cut.
`

const setUp = Effect.fnUntraced(function* (fault: DemoBreak | null, measured: Stage["measured"]) {
  const lab = yield* Lab
  const keys = yield* lab.keyPair
  const nameServer = yield* startNameServer
  yield* nameServer.set({ mode: "closed", name, a: [inner.origin.v4], aaaa: [inner.origin.v6], ttl: 5 })
  yield* startOrigins
  const client = yield* lab.capture("client")
  const lan = yield* lab.capture("lan")
  const gateway = yield* startGateway({
    config: gatewayConfig(keys.publicKey),
    program: fault === null ? lab.program("sallyport") : [...lab.program("broken-gateway"), fault]
  })
  yield* startClient(clientConf({ privateKey: keys.privateKey, gatewayPublicKey: gateway.publicKey }))
  const visitor = yield* startVisitor()
  yield* chapter("The company's name server is down: nothing listens at its port.")
  return { gateway, nameServer, visitor, client, lan, measured } satisfies Stage
})

const gatewayConfig = (clientKey: string): string => `endpoint: ${outer.gateway.v4}:${gatewayPort}
resolvers: { corp: ["udp://${inner.dns.v4}"] }
clients:
  visitor: { public_key: "${clientKey}", tunnel_ipv4: ${tunnelAddresses.client.v4}, tunnel_ipv6: "${tunnelAddresses.client.v6}" }
resources:
  intranet: { name: ${name}, ports: [tcp/80, icmp], resolver: corp, allow: [visitor] }
`

const accept = Effect.fnUntraced(function* ({ client, lan, measured, visitor }: Stage) {
  const asked = yield* visitor.resolve({ server: tunnelAddresses.gateway.v4, name, type: "A", timeout: 4000 })
  const query = yield* client.first(isDns(asked.id, false), patience)
  if (query === null) return yield* wrong("accept", "the client's question never reached its TUN")
  yield* line("client", `asks the gateway for ${name}`)
  if (!asked.answered) {
    return yield* wrong("accept", `no answer within 4 s, the client is kept waiting for DNS`)
  }
  const reply = yield* client.first(isDns(asked.id, true), patience)
  if (reply === null) return yield* wrong("accept", "the answer is not in the capture of the client's TUN")
  const acceptMs = between(query, reply)
  const proxy = asked.addresses?.[0]
  if (proxy === undefined || !isProxy(proxy)) {
    return yield* wrong(
      "accept",
      `answered with ${proxy ?? `no address (code ${asked.rcode ?? -1})`} instead of a proxy IP`
    )
  }
  if (acceptMs > limits.accept) {
    return yield* wrong("accept", `the answer took ${ms(acceptMs)}; at once would be below ${ms(limits.accept)}`)
  }
  const said = (yield* lan.packets).find((packet) => fromNameServer(packet) && packet.at < reply.at)
  if (said !== undefined) return yield* wrong("accept", "the name server was not down, so nothing was shown")
  measured({ acceptMs: round(acceptMs), acceptedWhileDnsDown: true })
  yield* line("gateway", `answers ${proxy} after ${ms(acceptMs)}: accepted, although DNS is down`, true)

  const handshake = (direction: "in" | "out", type: 1 | 2) =>
    client.first((packet) => packet.direction === direction && handshakeMessage(packet) === type, patience)
  const initiation = yield* handshake("out", 1)
  const response = yield* handshake("in", 2)
  if (initiation === null || response === null)
    return yield* wrong("accept", "no WireGuard handshake on the outer wire")
  measured({ handshakeMs: round(between(initiation, response)) })
  yield* line("gateway", `answered the WireGuard handshake in ${ms(between(initiation, response))}`, true)
  return proxy
})

const answerAtOnce = Effect.fnUntraced(function* ({ client, measured, visitor }: Stage, proxy: string) {
  const fiber = yield* Effect.forkScoped(visitor.connect({ address: proxy, timeout: 5000 }), { startImmediately: true })
  const syn = yield* client.first((packet) => inTunnel(packet, "out") && isFlow(packet, proxy, "to"), patience)
  if (syn === null) return yield* wrong("icmp", "the client's SYN never reached its TUN")
  yield* line("client", `connects to ${proxy}, port 80`)
  const answer = yield* client.first(
    (packet) => packet.at >= syn.at && inTunnel(packet, "in") && isUnreachable(packet, proxy),
    { timeout: "5 seconds" }
  )
  const connected = yield* Fiber.join(fiber)
  if (answer === null)
    return yield* wrong("icmp", "no ICMP unreachable came within 5 s, the client is left in the dark")
  const message = unreachable(ipView(answer.bytes)!)!
  const typeCode = `${message.type}/${message.code}`
  if (typeCode !== "3/0") return yield* wrong("icmp", `ICMP ${typeCode} came instead of 3/0`)
  if (connected.ok) return yield* wrong("icmp", "the connection opened although nobody knows where to")
  measured({ answerWhileDnsDown: "icmp-unreachable", answerTypeCode: typeCode })
  yield* line(
    "gateway",
    `says so after ${ms(between(syn, answer))}: ICMP unreachable (${typeCode}); the program sees ${connected.code ?? "an error"}`,
    true
  )
})

const heal = Effect.fnUntraced(function* (stage: Stage, proxy: string) {
  const { client, gateway, lan, measured, nameServer, visitor } = stage
  yield* chapter(`The client tries again every 100 ms, for ${outageSeconds} seconds, and is told the truth each time.`)
  const trying = yield* Effect.forkScoped(visitor.retry({ address: proxy, every: 100, deadline: 45_000 }))
  const row = yield* gateway.status.pipe(
    Effect.map((status) => status.mappings.find((mapping) => mapping.domain === name)),
    Effect.repeat({ while: (mapping) => mapping?.state !== "Unresolved", schedule: Schedule.spaced("500 millis") }),
    Effect.timeoutOrElse({
      duration: "20 seconds",
      orElse: () => wrong("heal", "status does not show the failed lookup within 20 s")
    })
  )
  yield* line("status", `${name}: ${row?.reason ?? "unresolved"}`)
  yield* Effect.sleep(`${outageSeconds} seconds`)

  const mark = "sallyport demo: the name server is back"
  yield* nameServer.set({ mode: "answer", mark })
  const back = yield* lan.first(isMark(mark), patience)
  if (back === null) return yield* wrong("heal", "the name server's return is not in the capture of the LAN")
  yield* line("dns", "is back")
  const firstByte = yield* client.first(
    (packet) => packet.at > back.at && inTunnel(packet, "in") && isFlow(packet, proxy, "from") && hasData(packet),
    { timeout: "15 seconds" }
  )
  if (firstByte === null) {
    return yield* wrong("heal", "DNS is back for 15 s and the client's packets still do not get through")
  }
  const healMs = between(back, firstByte)
  const { page, tries } = yield* Fiber.join(trying)
  if (page?.servedBy !== inner.origin.v4) return yield* wrong("heal", "the page did not come from the company's server")
  if (healMs > limits.heal) {
    return yield* wrong("heal", `the first byte took ${ms(healMs)}; promised are less than ${ms(limits.heal)}`)
  }
  measured({ healMs: round(healMs) })
  yield* line("client", `has the first byte ${ms(healMs)} later, at try ${tries}: "${page.text.trim()}"`, true)
})

const move = Effect.fnUntraced(function* (stage: Stage, proxy: string) {
  const { client, lan, measured, nameServer, visitor } = stage
  yield* chapter(`The application moves: ${name} is ${inner.otherOrigin.v4} from now on (TTL 5 s).`)
  yield* visitor.openDrip("old", proxy)
  const before = yield* visitor.readDrip("old")
  const mark = "sallyport demo: the application has moved"
  yield* nameServer.set({ name, a: [inner.otherOrigin.v4], aaaa: [inner.otherOrigin.v6], ttl: 5, mark })
  const moved = yield* lan.first(isMark(mark), patience)
  if (moved === null) return yield* wrong("move", "the change is not in the capture of the LAN")
  const found = yield* visitor.retry({
    address: proxy,
    every: 100,
    deadline: limits.move,
    servedBy: inner.otherOrigin.v4
  })
  if (found.page === null) {
    return yield* wrong("move", `new connections still go to the old server ${ms(limits.move)} after the change`)
  }
  const firstByte = yield* client.first(
    (packet) =>
      packet.at > moved.at &&
      inTunnel(packet, "in") &&
      isFlow(packet, proxy, "from") &&
      ascii(packet.bytes).includes(`x-served-by: ${inner.otherOrigin.v4}`),
    patience
  )
  if (firstByte === null) return yield* wrong("move", "the new server's first byte is not in the capture")
  const movedMs = between(moved, firstByte)
  yield* line("client", `reaches the new server ${ms(movedMs)} after the change`, true)

  yield* Effect.sleep("500 millis")
  const after = yield* visitor.readDrip("old")
  if (after.ended !== null || after.lines <= before.lines + 3 || after.last !== inner.origin.v4) {
    return yield* wrong("move", `the connection from before was cut (${after.ended ?? `${after.lines} lines`})`)
  }
  measured({ movedMs: round(movedMs) })
  yield* line("client", `still reads from ${inner.origin.v4} on the connection from before`, true)
})

const between = (from: CapturedPacket, to: CapturedPacket): number => to.at - from.at

const round = (milliseconds: number): number => Math.round(milliseconds * 1000) / 1000

const isProxy = (text: string): boolean => {
  const address = parseAddress(text)
  const network = parseNetwork(defaultNetwork.proxy4)
  return address !== undefined && network !== undefined && contains(network, address)
}

/** On the client every device but the outer wire and loopback is the tunnel's. */
const inTunnel = (packet: CapturedPacket, direction: "in" | "out"): boolean =>
  packet.direction === direction && packet.device !== "outer" && packet.device !== "lo"

const isDns =
  (id: number, response: boolean) =>
  (packet: CapturedPacket): boolean => {
    const ip = ipView(packet.bytes)
    if (ip === undefined || !inTunnel(packet, response ? "in" : "out")) return false
    const pair = ports(ip)
    const header = dnsHeader(udpData(ip))
    return (response ? pair?.from : pair?.to) === 53 && header?.id === id && header.response === response
  }

const fromNameServer = (packet: CapturedPacket): boolean => {
  const ip = ipView(packet.bytes)
  return ip !== undefined && packet.device === "inner" && ip.source === inner.dns.v4 && ports(ip)?.from === 53
}

const isFlow = (packet: CapturedPacket, proxy: string, side: "from" | "to"): boolean => {
  const ip = ipView(packet.bytes)
  if (ip === undefined || ip.protocol !== protocolTcp) return false
  return (side === "to" ? ip.destination : ip.source) === proxy && ports(ip)?.[side] === 80
}

const hasData = (packet: CapturedPacket): boolean => {
  const ip = ipView(packet.bytes)
  return ip !== undefined && tcpData(ip).length > 0
}

const isUnreachable = (packet: CapturedPacket, proxy: string): boolean => {
  const ip = ipView(packet.bytes)
  const message = ip === undefined ? undefined : unreachable(ip)
  return message?.about?.destination === proxy && message.about.protocol === protocolTcp
}

const isMark =
  (mark: string) =>
  (packet: CapturedPacket): boolean => {
    const ip = ipView(packet.bytes)
    return ip !== undefined && ports(ip)?.to === 9 && ascii(udpData(ip)) === mark
  }
