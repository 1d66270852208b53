/** A gateway with many configured clients in the lab, and how the load generator reaches it. */
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { Effect, Schema } from "effect"
import { withCompanyDns } from "../../../src/lab/demo/withCompanyDns.ts"
import { Lab, labAddresses } from "../../../src/lab/demo/Lab.ts"
import { type Gateway, gatewayPort, startGateway } from "../../../src/lab/demo/tunnel.ts"
import { inLab } from "../../support/lab.ts"
import { processors } from "./calm.ts"
import type { FleetClient, FleetJob } from "./fleet.ts"

export interface ConfiguredFleet {
  readonly gateway: Gateway
  readonly clients: ReadonlyArray<FleetClient>
}

/** Any address of it can be a client's source address. */
const sourceNetwork = "198.18.0.0/16"

/**
 * Starts a gateway that knows `count` clients, all allowed to reach `*.svc.corp.internal` and what `resources` adds (lines
 * of the configuration); its host's own server is the company's, too. With `--profile DIRECTORY` its threads leave their
 * processor profiles there.
 */
export const startFleetGateway = Effect.fnUntraced(function* (count: number, resources = "") {
  const lab = yield* Lab
  const { inner, outer } = labAddresses
  yield* lab.exec("client", ["ip", "route", "replace", "local", sourceNetwork, "dev", "lo"])
  yield* lab.exec("gateway", ["ip", "route", "replace", sourceNetwork, "via", outer.client.v4])
  const clients: Array<FleetClient> = []
  const lines: Array<string> = []
  for (let i = 0; i < count; i++) {
    const { privateKey, publicKey } = yield* lab.keyPair
    const tunnel4 = `100.65.${i >>> 8}.${i & 255}`
    clients.push({ privateKey, tunnel4 })
    lines.push(
      `  c${i}: { public_key: "${publicKey}", groups: [all], tunnel_ipv4: ${tunnel4}, tunnel_ipv6: "fd00:2021:1111::1:${i.toString(16)}" }`
    )
  }
  const profile = process.argv.indexOf("--profile")
  const gateway = yield* startGateway({
    program: yield* withCompanyDns(lab.program("sallyport")),
    env: profile < 0 ? {} : { NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${process.argv[profile + 1]}` },
    config: `endpoint: ${outer.gateway.v4}:${gatewayPort}
resolvers: { corp: ["udp://${inner.dns.v4}"] }
clients:
${lines.join("\n")}
resources:
  services: { name: "*.svc.corp.internal", resolver: corp, allow: [all] }
${resources}`
  })
  return { gateway, clients } satisfies ConfiguredFleet
})

/** What a load generator reads: the path of its job. */
export const writeJob = Effect.fnUntraced(function* (
  fleet: ConfiguredFleet,
  options: { readonly sources: number; readonly parameters: FleetJob["parameters"] }
) {
  const job: FleetJob = {
    gateway: { address: labAddresses.outer.gateway.v4, port: gatewayPort, publicKey: fleet.gateway.publicKey },
    clients: fleet.clients,
    sources: Array.from({ length: options.sources }, (_, i) => `198.18.0.${i + 1}`),
    parameters: options.parameters
  }
  return yield* (yield* Lab).writeFile("job.json", JSON.stringify(job))
})

/** Runs a load generator (a file of this directory) in the client's namespace and yields the JSON that it prints. */
export const generate = Effect.fnUntraced(function* <A>(
  file: string,
  fleet: ConfiguredFleet,
  options: {
    readonly sources: number
    readonly seconds: number
    readonly parameters: FleetJob["parameters"]
    readonly result: Schema.Decoder<A>
  }
) {
  const lab = yield* Lab
  const path = yield* writeJob(fleet, options)
  // Its clients stand for other machines: of the gateway's two processors it gets what is left.
  const output = yield* lab.exec(
    "client",
    ["nice", "-n", "19", process.execPath, fileURLToPath(new URL(`./${file}`, import.meta.url)), path],
    { timeout: `${options.seconds} seconds` }
  )
  return yield* Schema.decodeEffect(Schema.fromJsonString(options.result))(output)
})

/** Milliseconds of processor time that the process has used, all threads together. */
export const cpuMs = (pid: number): number => sumTicks(pid, [utime, stime]) * tickMs

/**
 * Share of the machine's processor time, since the call, that went to none of ours: the gateway, this bench, and the
 * programs that it has waited for. Others' work delays what is measured.
 */
export const watchOthers = (gateway: number): (() => number) => {
  const own = (): number => sumTicks(gateway, [utime, stime]) + sumTicks(process.pid, [utime, stime, cutime, cstime])
  const before = { own: own(), ...processors() }
  return () => {
    const { all, idle } = processors()
    const elapsed = all - before.all
    return (elapsed - (idle - before.idle) - (own() - before.own)) / elapsed
  }
}

/** Fields 14 to 17 of the line in `stat`, counted from the one behind the name: clock ticks. */
const [utime, stime, cutime, cstime] = [11, 12, 13, 14]
const tickMs = 10

const sumTicks = (pid: number, wanted: ReadonlyArray<number>): number => {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8")
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
  return wanted.reduce((sum, field) => sum + Number(fields[field]), 0)
}

/** `ip netns exec` replaces itself by the program, so the child's id is the gateway's. */
export const gatewayPid = (fleet: ConfiguredFleet): number => fleet.gateway.process.pid

export const runBench = <E>(bench: Effect.Effect<void, E, Effect.Services<Parameters<typeof inLab<void, E>>[0]>>) =>
  Effect.runPromise(inLab(bench))
