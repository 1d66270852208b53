/**
 * Runs inside a gateway's namespace with the live `HostNetwork`, plays the clients by raw packets on the TUN device, and
 * prints one JSON value. Arguments: scenario, plan overrides as JSON, the
 * neighbours' namespace.
 */
import { execFile, execFileSync } from "node:child_process"
import { createSocket } from "node:dgram"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { openEventFd, openTun } from "../../../layers/dataplane/native/fds.ts"
import { makeMemory } from "../../../layers/dataplane/native/memory.ts"
import { NativeError } from "../../../layers/dataplane/native/nativeError.ts"
import { makePacketIo } from "../../../layers/dataplane/native/packetIo.ts"
import * as ForeignNetworksLive from "../../../layers/host/ForeignNetworks.ts"
import * as Live from "../../../layers/host/HostNetwork.ts"
import * as IpFamiliesLive from "../../../layers/host/IpFamilies.ts"
import { type HostError, HostNetwork, type HostPlan } from "../../../src/host/HostNetwork.ts"
import { IpFamilies } from "../../../src/host/IpFamilies.ts"
import { hostPlan } from "../../support/hostPlan.ts"

const plan: HostPlan = {
  ...hostPlan,
  device: "sptest0",
  ...(JSON.parse(process.argv[3] ?? "{}") as Partial<HostPlan>)
}

const memory = makeMemory(1)
const at = memory.arena.reserve(4096)
const bytes = memory.arena.bytes

const ok = <A>(value: A | NativeError): A => {
  if (value instanceof NativeError) throw new Error(value.message)
  return value
}

const openDevice = (name: string = plan.device) => {
  const { fd } = ok(openTun(name, { vnetHeader: false }))
  return makePacketIo({ memory, tun: fd, udp4: -1, udp6: -1, event: ok(openEventFd()) })
}

const sh = (command: string): string =>
  execFileSync("sh", ["-c", command], { encoding: "utf8", timeout: 10_000, stdio: ["ignore", "pipe", "pipe"] })

const address = (text: string): ReadonlyArray<number> => text.split(".").map(Number)

const sum = (data: ReadonlyArray<number>): number => {
  let total = 0
  for (let i = 0; i < data.length; i += 2) total += (data[i]! << 8) | (data[i + 1] ?? 0)
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16)
  return ~total & 0xffff
}

const be16 = (n: number): ReadonlyArray<number> => [n >>> 8, n & 0xff]

const ipv4 = (protocol: number, from: string, to: string, payload: ReadonlyArray<number>) => {
  const start = [0x45, 0, ...be16(20 + payload.length), 0, 1, 0, 0, 64, protocol]
  const ends = [...address(from), ...address(to)]
  return [...start, ...be16(sum([...start, 0, 0, ...ends])), ...ends, ...payload]
}

const icmpEcho = (from: string, to: string) => {
  const echo = [8, 0, 0, 0, 0x12, 0x34, 0, 1]
  return ipv4(1, from, to, [8, 0, ...be16(sum(echo)), ...echo.slice(4)])
}

const udp = (from: string, to: string, port: number) =>
  ipv4(17, from, to, [...be16(4000), ...be16(port), ...be16(12), 0, 0, 1, 2, 3, 4])

const tcpSyn = (from: string, to: string, port: number) => {
  const header = [...be16(4000), ...be16(port), 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 4, 0]
  const pseudo = [...address(from), ...address(to), 0, 6, 0, 20]
  return ipv4(6, from, to, [...header, ...be16(sum([...pseudo, ...header, 0, 0, 0, 0])), 0, 0])
}

/** Of either family. */
const ipPacket = (protocol: number, from: string, to: string, payload: ReadonlyArray<number>) => {
  if (!from.includes(":")) return ipv4(protocol, from, to, payload)
  return [0x60, 0, 0, 0, ...be16(payload.length), protocol, 64, ...address6(from), ...address6(to), ...payload]
}

/** Text with one `::` in it. */
const address6 = (text: string): ReadonlyArray<number> => {
  const [head = "", tail = ""] = text.split("::")
  const words = (part: string) => (part === "" ? [] : part.split(":").map((word) => Number.parseInt(word, 16)))
  const [before, after] = [words(head), words(tail)]
  const gap = Array.from({ length: 8 - before.length - after.length }, () => 0)
  return [...before, ...gap, ...after].flatMap(be16)
}

interface Segment {
  readonly ports: readonly [number, number]
  readonly flags: number
  readonly seq: number
  readonly ack?: number
  readonly data?: number
  readonly wrongChecksum?: boolean
}

const tcp = (from: string, to: string, { ack = 0, data = 0, flags, ports, seq, wrongChecksum }: Segment) => {
  const be32 = (n: number) => [...be16(Math.floor(n / 65_536)), ...be16(n % 65_536)]
  const start = [...ports.flatMap(be16), ...be32(seq), ...be32(ack), 0x50, flags, 16, 0]
  const rest = [0, 0, ...Array.from({ length: data }, () => 120)]
  const ends = from.includes(":") ? [...address6(from), ...address6(to)] : [...address(from), ...address(to)]
  const good = sum([...ends, 0, 6, ...be16(20 + data), ...start, 0, 0, ...rest])
  return ipPacket(6, from, to, [...start, ...be16(wrongChecksum === true ? good ^ 0x55 : good), ...rest])
}

/** Yields until `ms` have passed, and once after that: this process may have had no turn meanwhile. */
const lookFor = async function* (ms: number) {
  const end = performance.now() + ms
  for (let isLast = false; !isLast;) {
    isLast = performance.now() >= end
    yield
    await new Promise((resolve) => setImmediate(resolve))
  }
}

/** The next TCP segment that comes out of a device; `null`: none within `ms`. */
const nextSegment = async (io: ReturnType<typeof openDevice>, ms: number) => {
  for await (const _ of lookFor(ms)) {
    io.poll(5)
    const length = io.readTun(at, 2048)
    const v6 = bytes[at]! >>> 4 === 6
    const header = at + (v6 ? 40 : 20)
    if (length > 0 && bytes[at + (v6 ? 6 : 9)] === 6) {
      const source = bytes.subarray(at + (v6 ? 8 : 12), at + (v6 ? 24 : 16)).join(".")
      return { source, port: (bytes[header]! << 8) | bytes[header + 1]!, flags: bytes[header + 13]! }
    }
  }
  return null
}

/** Every `from>to/protocol` that comes out of the device, until the first batch or for `ms`. */
const collect = (io: ReturnType<typeof openDevice>, ms = 300) =>
  Effect.promise(async () => {
    const seen: Array<string> = []
    for await (const _ of lookFor(ms)) {
      io.poll(5)
      for (let length = io.readTun(at, 2048); length > 0; length = io.readTun(at, 2048)) {
        if (bytes[at]! >>> 4 !== 4) continue
        const dotted = (offset: number) => bytes.subarray(at + offset, at + offset + 4).join(".")
        seen.push(`${dotted(12)}>${dotted(16)}/${bytes[at + 9]}`)
      }
      if (seen.length > 0) break
    }
    return seen
  })

/** How many TCP and SCTP packets come out within `ms`; the host's own looking for neighbours is not among them. */
const collectNow = async (io: ReturnType<typeof openDevice>, ms: number): Promise<number> => {
  let count = 0
  for await (const _ of lookFor(ms)) {
    io.poll(5)
    while (io.readTun(at, 2048) > 0) if ([6, 132].includes(bytes[at + (bytes[at]! >>> 4 === 6 ? 6 : 9)]!)) count++
  }
  return count
}

const [fin, syn, rst, push, ackFlag] = [1, 2, 4, 8, 16] as const

const inject = (io: ReturnType<typeof openDevice>, packet: ReadonlyArray<number>): void => {
  bytes.set(packet, at)
  io.writeTun(at, packet.length)
}

/** Sends one packet as a client and tells what comes back. */
const ask = Effect.fnUntraced(function* (io: ReturnType<typeof openDevice>, packet: ReadonlyArray<number>) {
  inject(io, packet)
  return yield* collect(io)
})

const counters = (): Record<string, number> => {
  const list = JSON.parse(sh(`nft -j list counters table inet sallyport_${plan.device}`)) as {
    readonly nftables: ReadonlyArray<{ readonly counter?: { readonly name: string; readonly packets: number } }>
  }
  return Object.fromEntries(
    list.nftables.flatMap(({ counter }) => (counter === undefined ? [] : [[counter.name, counter.packets]]))
  )
}

const lan = process.argv[4]!
const host = "192.168.77.1"
const server = "192.168.77.2"
const client = "100.64.0.2"

type Scenario = Effect.Effect<unknown, HostError, HostNetwork | IpFamilies>

const configured = <A>(
  work: (
    io: ReturnType<typeof openDevice>,
    warnings: ReadonlyArray<string>
  ) => Effect.Effect<A, HostError, HostNetwork | IpFamilies>
) =>
  Effect.suspend(() => {
    const io = openDevice()
    return Effect.scoped(
      Effect.gen(function* () {
        const warnings = yield* (yield* HostNetwork).configure(plan)
        return yield* work(io, warnings)
      })
    )
  })

const state = () => ({
  addresses: sh(`ip -o address show dev ${plan.device} | awk '{print $4}'`).trim().split("\n").sort(),
  link: /mtu (\d+).* state (\w+)/.exec(sh(`ip link show dev ${plan.device}`))?.slice(1),
  routes: sh(`ip route show dev ${plan.device}; ip -6 route show dev ${plan.device}`).trim().split(/ *\n/),
  forwarding: sh("cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding").trim().split("\n"),
  tables: sh("nft list tables").trim().split("\n")
})

const scenarios: Record<string, Scenario> = {
  configure: configured((_, warnings) =>
    Effect.gen(function* () {
      const { wayOut } = (yield* IpFamilies).ipv6()
      const own = yield* (yield* HostNetwork).ownAddresses
      return { warnings, own, wayOut, during: state() }
    })
  ).pipe(Effect.map((result) => ({ ...result, after: state() }))),

  clients: configured((io) =>
    Effect.gen(function* () {
      return {
        outside: yield* ask(io, icmpEcho(client, server)),
        outsideUdp: yield* ask(io, udp(client, server, 7)),
        spoofed: yield* ask(io, icmpEcho("9.9.9.9", server)),
        gatewayEcho: yield* ask(io, icmpEcho(client, "100.64.0.1")),
        gatewayDns: yield* ask(io, udp(client, "100.64.0.1", 53)),
        gatewayOther: yield* ask(io, udp(client, "100.64.0.1", 54)),
        gatewayTcp: yield* ask(io, tcpSyn(client, "100.64.0.1", 22)),
        gatewayTcpDns: yield* ask(io, tcpSyn(client, "100.64.0.1", 53)),
        hostEcho: yield* ask(io, icmpEcho(client, host)),
        otherClient: yield* ask(io, icmpEcho(client, "100.64.0.3")),
        proxy: yield* ask(io, icmpEcho(client, "100.96.0.3")),
        counters: counters()
      }
    })
  ),

  /**
   * A reload opens the gateway's host to clients, and another one closes it; once more, where nft fails. Each time: what
   * reaches it, what a look finds.
   */
  refiltered: configured((io) =>
    Effect.gen(function* () {
      const network = yield* HostNetwork
      // Nobody listens there. A datagram that nothing but an error has answered is a new connection each time.
      const reached = ask(io, udp(client, host, 9))
      const outcome = [{ reached: yield* reached }]
      for (const allow of [true, false]) {
        yield* network.refilter(allow)
        outcome.push({ ...(yield* network.repair(Effect.void)), reached: yield* reached })
      }
      yield* network.refilter(true)
      const nft = sh("command -v nft").trim()
      // In this namespace alone.
      sh(`mount --bind /bin/false ${nft}`)
      yield* Effect.ignore(network.refilter(false))
      sh(`umount ${nft}`)
      outcome.push({ ...(yield* network.repair(Effect.void)), reached: yield* reached })
      return outcome
    })
  ),

  lan: configured((io) =>
    Effect.gen(function* () {
      const inLan = (command: string) => Effect.sync(() => sh(`ip netns exec ${lan} ${command} || true`))
      for (const to of [client, "100.64.0.1", "100.96.0.1"]) yield* inLan(`ping -c 1 -W 0.3 ${to}`)
      yield* inLan("ping -6 -c 1 -W 0.3 fd00:2021:1111::1")
      return { seen: yield* collect(io), counters: counters(), ping: yield* inLan(`ping -c 1 -W 1 ${host}`) }
    })
  ),

  /** The LAN is a device of ours, too: what leaves and what comes from there is in our hands. */
  strays: Effect.suspend(() => {
    const lanSide = openDevice("splan0")
    sh(`ip link set splan0 up; ip address add 192.168.78.1/24 dev splan0; ip address add fd78::1/64 dev splan0 nodad`)
    return configured((io) =>
      Effect.promise(async () => {
        const outcome: Record<string, unknown> = {}
        for (const [name, inside, server] of [
          ["v4", client, "192.168.78.2"],
          ["v6", "fd00:2021:1111::2", "fd78::2"]
        ] as const) {
          const ports = [6000, 7000] as const
          inject(io, tcp(inside, server, { ports, flags: syn, seq: 100 }))
          const first = await nextSegment(lanSide, 1000)
          const outside = name === "v4" ? "192.168.78.1" : "fd78::1"
          const back = [7000, first?.port ?? 0] as const
          const reply = (segment: Omit<Segment, "ports">) => {
            inject(lanSide, tcp(server, plan.masquerade ? outside : inside, { ports: back, ...segment }))
          }
          reply({ flags: syn | ackFlag, seq: 500, ack: 101 })
          const answer = await nextSegment(io, 1000)
          inject(io, tcp(inside, server, { ports, flags: ackFlag, seq: 101, ack: 501 }))
          const confirmed = await nextSegment(lanSide, 1000)
          reply({ flags: push | ackFlag, seq: 3_000_500, ack: 101, data: 1 })
          const far = await nextSegment(plan.masquerade ? lanSide : io, 500)
          reply({ flags: push | ackFlag, seq: 501, ack: 101, data: 1 })
          const alive = await nextSegment(io, 1000)
          const strays: Array<unknown> = []
          for (const packet of [
            ipPacket(132, inside, server, [0x13, 0x88, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 4]),
            tcp(inside, server, { ports: [6100, 7000], flags: fin | ackFlag, seq: 5, ack: 6 }),
            tcp(inside, server, { ports: [6101, 7000], flags: rst, seq: 5, ack: 6 }),
            tcp(inside, server, { ports: [6102, 7000], flags: syn | ackFlag, seq: 5, ack: 6 }),
            tcp(inside, server, { ports: [6103, 7000], flags: fin | syn | rst, seq: 5, ack: 6 }),
            tcp(inside, server, { ports: [6104, 7000], flags: syn, seq: 5, wrongChecksum: true })
          ]) {
            inject(io, packet)
            strays.push((await collectNow(lanSide, 60)) > 0)
          }
          outcome[name] = {
            translated: first?.source,
            answered: answer !== null && confirmed !== null,
            far: far?.flags ?? null,
            alive: alive?.flags ?? null,
            strays
          }
        }
        return { ...outcome, counters: counters() }
      })
    )
  }),

  integrated: configured((io) =>
    Effect.gen(function* () {
      const network = yield* HostNetwork
      const rules = () =>
        sh("nft list ruleset | grep 'comment.*sallyport for sptest0' || true")
          .trim()
          .split(/\s*\n\s*/)
          .sort()
      const before = yield* ask(io, icmpEcho(client, server))
      const chains = [...(yield* network.integrate(plan))].sort()
      const put = rules()
      const reached = [
        ...(yield* ask(io, icmpEcho(client, server))),
        ...(yield* ask(io, icmpEcho(client, plan.gateway4))),
        ...(yield* ask(io, udp(client, plan.gateway4, plan.dnsPort)))
      ]
      const again = (yield* network.integrate(plan)).size
      sh("nft flush chain ip filter FORWARD")
      yield* network.integrate(plan)
      return { before, chains, put, reached, again, back: rules() }
    })
  ).pipe(
    Effect.map((result) => ({
      ...(result as object),
      after: sh("nft list ruleset | grep 'sallyport for ' || true").trim()
    }))
  ),

  ownUdp: configured(() =>
    Effect.promise(async () => {
      const socket = createSocket("udp4")
      await new Promise<void>((resolve) => socket.bind(plan.listenPort, resolve))
      const answered = new Promise<void>((resolve) =>
        socket.once("message", (_, from) => socket.send("back", from.port, from.address, () => resolve()))
      )
      const client = `const s = require("dgram").createSocket("udp4"); s.on("message", () => s.close()); s.send("hi", ${plan.listenPort}, "${host}")`
      const exchanged = new Promise<boolean>((resolve) =>
        execFile("ip", ["netns", "exec", lan, process.execPath, "-e", client], { timeout: 10_000 }, (error) =>
          resolve(error === null)
        )
      )
      await answered
      const result = await exchanged
      socket.close()
      sh(`ip netns exec ${lan} ping -c 1 -W 1 ${host}`)
      return { exchanged: result, tracked: sh("conntrack -L 2>/dev/null").trim().split("\n") }
    })
  ),

  /** A flow begins while the table is gone, and goes on once it is there again. */
  untranslated: configured((io) =>
    Effect.gen(function* () {
      const flow = udp(client, server, 7)
      const ends = () => sh("conntrack -L -p udp --dport 7 2>/dev/null").trim()
      // Flows are tracked as long as somebody's rules ask for it.
      sh("nft add table ip other")
      sh("nft 'add chain ip other pre { type filter hook prerouting priority 0; }'")
      sh("nft add rule ip other pre ct state new accept")
      sh(`nft delete table inet sallyport_${plan.device}`)
      inject(io, flow)
      const before = ends()
      const { repaired } = yield* (yield* HostNetwork).repair(Effect.void)
      inject(io, flow)
      return { before, repaired, after: ends() }
    })
  ),

  /** Somebody sets an uplink with router advertisements back; then it is made anew. */
  advertised: configured(() =>
    Effect.gen(function* () {
      const { repair } = yield* HostNetwork
      sh("sysctl -qw net.ipv6.conf.v0.accept_ra=1")
      const { repaired: back } = yield* repair(Effect.void)
      sh("ip link delete v0; ip link add v0 type veth peer name v9")
      const { repaired: anew } = yield* repair(Effect.void)
      return { back, anew, right: (yield* repair(Effect.void)).repaired }
    })
  ),

  /** The program that makes the table goes away while it is not needed, and while it is; and comes back. */
  withoutNft: configured(() =>
    Effect.gen(function* () {
      const { countPaths, integrate, repair } = yield* HostNetwork
      yield* integrate(plan)
      yield* countPaths(plan, true)
      sh("mount -t tmpfs none /usr/sbin")
      const isRead = yield* Effect.isFailure(integrate(plan))
      sh(`umount /usr/sbin; nft delete table inet sallyport_${plan.device}; mount -t tmpfs none /usr/sbin`)
      const gone = yield* repair(Effect.void)
      sh("umount /usr/sbin")
      return { isRead, gone, back: yield* repair(Effect.void) }
    })
  ),

  /** What a look says after each of these commands, where it puts right what is wrong. */
  edited: configured(() =>
    Effect.gen(function* () {
      const { repair } = yield* HostNetwork
      const found: Record<string, ReadonlyArray<string>> = {}
      for (const command of process.argv.slice(5)) {
        sh(command)
        found[command] = (yield* repair(Effect.void)).repaired
        found["again"] = [...(found["again"] ?? []), ...(yield* repair(Effect.void)).repaired]
      }
      return found
    })
  ),

  /** Who takes packets where no rule of nftables does: mounts say what there is, in the place of the machine's. */
  unshown: configured(() =>
    Effect.gen(function* () {
      const { blame } = yield* HostNetwork
      const path = { way: "begin", family: "ipv4", protocol: "tcp", device: "v0" } as const
      const before = yield* blame(plan, path)
      sh("mount -t tmpfs none /mnt; echo 4096 > /mnt/full")
      for (const name of ["count", "max"]) sh(`mount --bind /mnt/full /proc/sys/net/netfilter/nf_conntrack_${name}`)
      const full = yield* blame(plan, path)
      sh(`cd /proc/${process.pid}; mount -t tmpfs none net; echo filter > net/ip_tables_names`)
      const legacy = yield* blame(plan, { ...path, way: "service" })
      return { before: before.likely, full, legacy }
    })
  ),

  /** Looked after, and left alone: processor time per second in milliseconds, of half a minute. */
  idle: configured(() =>
    Effect.gen(function* () {
      const network = yield* HostNetwork
      yield* Effect.forkScoped(Effect.forever(Effect.andThen(network.stirred, network.repair(Effect.void))))
      yield* network.countPaths(plan, true)
      yield* Effect.forkScoped(Effect.forever(Effect.delay(network.pathCounts(plan), "6 seconds")))
      yield* Effect.sleep("5 seconds")
      const before = process.cpuUsage()
      yield* Effect.sleep("30 seconds")
      const { system, user } = process.cpuUsage(before)
      return { msPerSecond: (system + user) / 1_000 / 30 }
    }).pipe(Effect.scoped)
  ),

  changed: Effect.gen(function* () {
    const network = yield* HostNetwork
    // Addresses of the wires themselves come up a moment after them.
    while (sh("ip -6 -o address show tentative") !== "") yield* Effect.sleep("100 millis")
    yield* Effect.sleep("500 millis")
    yield* Effect.timeoutOption(network.changed, "1 second")
    const fiber = yield* Effect.forkChild(network.changed)
    yield* Effect.sleep("300 millis")
    const before = fiber.pollUnsafe() !== undefined
    sh("ip address add 192.168.99.1/24 dev lo")
    yield* Fiber.join(fiber)
    return { before, own: yield* network.ownAddresses }
  }),

  /** Sets up a device that exists already, or fails. */
  plain: Effect.scoped(Effect.flatMap(HostNetwork, (network) => network.configure(plan)))
}

const outcome = await Effect.runPromise(
  scenarios[process.argv[2]!]!.pipe(
    Effect.match({ onSuccess: (value) => ({ value }), onFailure: (error) => ({ error: error.message }) }),
    Effect.provide(Layer.provideMerge(Live.layer, [ForeignNetworksLive.layer, IpFamiliesLive.layer]))
  )
)
// What is logged comes before it.
process.stdout.write(`\n${JSON.stringify(outcome)}`)
process.exit(0)
