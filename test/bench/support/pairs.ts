/** The pairs that are compared: each in a lab of its own, all of them up at the same time, one of them busy. */
import { readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { Context, Effect, Layer, Schedule, type Scope } from "effect"
import * as LabLayer from "../../../layers/lab/Lab.ts"
import { startOrigins, startNameServer, startVisitor } from "../../../src/lab/demo/company.ts"
import { Lab, labAddresses, LabError } from "../../../src/lab/demo/Lab.ts"
import { clientConf, gatewayPort, startClient, startGateway, tunnelAddresses } from "../../../src/lab/demo/tunnel.ts"
import { gatewayConfig } from "../../support/lab.ts"
import { startWireguardGo, type WireguardGoError } from "../../support/wireguardGo.ts"
import { withProgram } from "./builtCommit.ts"
import type { WireguardBinary } from "./wireguardBinary.ts"

/**
 * Client and gateway. `floor`: plain routing, no tunnel, no translation. `copy`: Sallyport at both ends with the cipher
 * replaced by a copy.
 */
export const pairNames = ["floor", "sallyport", "mixed", "peer", "copy"] as const
export type PairName = (typeof pairNames)[number]

export const pairTitles: Readonly<Record<PairName, string>> = {
  floor: "no tunnel",
  sallyport: "sallyport-sallyport",
  mixed: "wireguard-go-sallyport",
  peer: "wireguard-go-wireguard-go",
  copy: "sallyport-sallyport without cipher"
}

export interface Pair {
  readonly name: PairName
  readonly lab: Lab["Service"]
  /** What the client dials to reach the origin. */
  readonly target: string
  /** Processes at the two ends; `null` without a tunnel. */
  readonly gateway: number | null
  readonly client: number | null
  /** Where a Sallyport gateway writes its main loop's delays when it gets SIGUSR2. */
  readonly delays: string | null
}

export interface PairOptions {
  readonly mtu: number
  /** For the pairs with a wireguard-go; without it the one in the path. */
  readonly wireguard?: WireguardBinary
  /** The gateway leaves its processor profiles in this directory. */
  readonly profile?: string | null
  /** The Sallyport at both ends, a file for Node; default: this one. */
  readonly program?: string
  /** A module that the gateway loads before itself. */
  readonly preload?: string
}

export const iperfPort = 5_201
export const connectPort = 5_300
const wireguardGo = "wireguard-go"
const { inner, outer } = labAddresses
const name = "app.corp.internal"
/** The address that stands for the origin at the peer's gateway. */
const peerProxy = "100.96.0.1"

/** Builds the lab, both ends and the servers behind them; everything goes with the scope. */
export const startPair: (
  pair: PairName,
  options: PairOptions
) => Effect.Effect<Pair, LabError | WireguardGoError, Scope.Scope> = Effect.fnUntraced(function* (pair, options) {
  const lab = Context.get(yield* Layer.build(Layer.fresh(LabLayer.layer)), Lab)
  return yield* Effect.provideService(
    Effect.gen(function* () {
      yield* tune
      yield* startServers
      const ends = yield* pair === "floor" ? plain : pair === "peer" ? peer(options) : sallyport(pair, options)
      return { name: pair, lab, ...ends }
    }),
    Lab,
    options.program === undefined ? lab : withProgram(lab, options.program)
  )
})

/** Enough ports for a storm of connections. */
const tune = Effect.gen(function* () {
  const lab = yield* Lab
  yield* lab.exec("client", ["sysctl", "-qw", "net.ipv4.ip_local_port_range=2048 65000"])
})

const startServers = Effect.gen(function* () {
  const lab = yield* Lab
  yield* startOrigins
  yield* lab.spawn("lan", ["iperf3", "--server", "--bind", inner.origin.v4, "--port", String(iperfPort)])
  const acceptor = fileURLToPath(new URL("./connectMain.ts", import.meta.url))
  yield* lab.spawn("lan", [process.execPath, acceptor, "serve", inner.origin.v4, String(connectPort)])
})

const plain = Effect.gen(function* () {
  const lab = yield* Lab
  yield* lab.exec("gateway", ["sysctl", "-qw", "net.ipv4.ip_forward=1"])
  yield* lab.exec("client", ["ip", "route", "replace", inner.network.v4, "via", outer.gateway.v4])
  yield* lab.exec("lan", ["ip", "route", "replace", "192.0.2.0/24", "via", inner.gateway.v4])
  return { target: inner.origin.v4, gateway: null, client: null, delays: null }
})

const sallyport = Effect.fnUntraced(function* (pair: PairName, options: PairOptions) {
  const { mtu, preload, profile = null, wireguard } = options
  const lab = yield* Lab
  const keys = yield* lab.keyPair
  const nameServer = yield* startNameServer
  yield* nameServer.set({ mode: "answer", name, a: [inner.origin.v4], aaaa: [inner.origin.v6], ttl: 300 })
  const copy = fileURLToPath(new URL("./noCipher.ts", import.meta.url))
  const loopDelay = fileURLToPath(new URL("./loopDelay.ts", import.meta.url))
  const delays = `${lab.directory}/delays.json`
  const nodeOptions = [
    `--import=${loopDelay}`,
    ...(profile === null ? [] : [`--cpu-prof --cpu-prof-dir=${profile}`]),
    ...(pair === "copy" ? [`--import=${copy}`] : []),
    ...(preload === undefined ? [] : [`--import=${preload}`])
  ].join(" ")
  const gateway = yield* startGateway({
    config: gatewayConfig({ clientKey: keys.publicKey, more: `network: { mtu: ${mtu} }` }),
    env: {
      NODE_OPTIONS: nodeOptions,
      SALLYPORT_BENCH_DELAYS: delays,
      SALLYPORT_BENCH_UNOBSERVED: unobservedFile(lab)
    }
  })
  const client =
    pair === "mixed"
      ? (yield* startWireguardGo({
          program: wireguard?.path ?? wireguardGo,
          host: "client",
          device: deviceOf(lab, "c"),
          privateKey: keys.privateKey,
          addresses: [`${tunnelAddresses.client.v4}/32`],
          routes: ["100.64.0.0/10"],
          mtu,
          peers: [
            {
              publicKey: gateway.publicKey,
              allowedIps: ["100.64.0.0/10"],
              endpoint: `${outer.gateway.v4}:${gatewayPort}`
            }
          ]
        })).process
      : yield* startClient(
          clientConf({ privateKey: keys.privateKey, gatewayPublicKey: gateway.publicKey }).replace(
            /^MTU = .*$/m,
            `MTU = ${mtu}`
          ),
          pair === "copy" ? { NODE_OPTIONS: `--import=${copy}` } : {}
        )
  const visitor = yield* startVisitor()
  const target = yield* visitor.resolve({ server: tunnelAddresses.gateway.v4, name, type: "A", timeout: 1_000 }).pipe(
    Effect.map((answer) => answer.addresses?.[0]),
    Effect.filterOrFail(
      (address) => address !== undefined,
      () => new LabError({ message: `no proxy address for ${name}` })
    ),
    Effect.retry({ schedule: Schedule.spaced("100 millis"), times: 100 })
  )
  return { target, gateway: gateway.process.pid, client: client.pid, delays }
})

/** wireguard-go at both ends; nftables does what the gateway's translation does. */
const peer = Effect.fnUntraced(function* (options: PairOptions) {
  const { mtu, wireguard } = options
  const lab = yield* Lab
  const clientKeys = yield* lab.keyPair
  const gatewayKeys = yield* lab.keyPair
  const device = deviceOf(lab, "g")
  const gateway = yield* startWireguardGo({
    program: wireguard?.path ?? wireguardGo,
    host: "gateway",
    device,
    privateKey: gatewayKeys.privateKey,
    addresses: [`${tunnelAddresses.gateway.v4}/32`],
    routes: [`${tunnelAddresses.client.v4}/32`],
    listenPort: gatewayPort,
    mtu,
    peers: [{ publicKey: clientKeys.publicKey, allowedIps: [`${tunnelAddresses.client.v4}/32`] }]
  })
  yield* lab.exec("gateway", ["sysctl", "-qw", "net.ipv4.ip_forward=1"])
  yield* lab.exec("gateway", ["nft", "-f", "-"], {
    input: `table ip bench {
  chain untracked_in { type filter hook prerouting priority raw; iifname outer udp dport ${gatewayPort} notrack; }
  chain untracked_out { type filter hook output priority raw; oifname outer udp sport ${gatewayPort} notrack; }
  chain in { type nat hook prerouting priority dstnat; iifname ${device} ip daddr ${peerProxy} dnat to ${inner.origin.v4}; }
  chain out { type nat hook postrouting priority srcnat; oifname inner masquerade; }
}
`
  })
  const client = yield* startWireguardGo({
    program: wireguard?.path ?? wireguardGo,
    host: "client",
    device: deviceOf(lab, "c"),
    privateKey: clientKeys.privateKey,
    addresses: [`${tunnelAddresses.client.v4}/32`],
    routes: ["100.64.0.0/10"],
    mtu,
    peers: [
      {
        publicKey: gatewayKeys.publicKey,
        allowedIps: ["100.64.0.0/10"],
        endpoint: `${outer.gateway.v4}:${gatewayPort}`
      }
    ]
  })
  yield* lab.exec("client", ["ping", "-c1", "-W10", peerProxy], { timeout: "15 seconds" })
  return { target: peerProxy, gateway: gateway.process.pid, client: client.process.pid, delays: null }
})

/** Where it is there, a gateway with `unobserved.ts` has no event log and no metrics. */
export const unobservedFile = ({ directory }: Lab["Service"]): string => `${directory}/unobserved`

/** Unique on this machine, and no longer than a device name may be. */
const deviceOf = (lab: Lab["Service"], end: string): string => {
  const [, , processId, serial] = lab.id.split("-")
  return `w${end}${processId}x${serial}`
}

export interface ProcessorTime {
  /** Seconds since the start, all threads. */
  readonly user: number
  readonly system: number
}

/** The same of all threads together, exactly. */
export const processorNanoseconds = (pid: number): number =>
  readdirSync(`/proc/${pid}/task`).reduce((sum, task) => {
    const [ran] = readFileSync(`/proc/${pid}/task/${task}/schedstat`, "utf8").split(" ", 1)
    return sum + Number(ran)
  }, 0)

export const processorTime = (pid: number | null): ProcessorTime => {
  if (pid === null) return { user: 0, system: 0 }
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8")
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
  // Clock ticks of 10 ms: utime and stime are fields 14 and 15 of the whole line.
  return { user: Number(fields[11]) / 100, system: Number(fields[12]) / 100 }
}
