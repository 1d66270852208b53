/** One measurement: a load through one pair, and what it cost the gateway. */
import { readFileSync, rmSync } from "node:fs"
import process from "node:process"
import { fileURLToPath } from "node:url"
import { Effect, Schedule, Schema } from "effect"
import { LabError } from "../../../src/lab/demo/Lab.ts"
import type { Work } from "./cases.ts"
import { connectPort, iperfPort, type Pair, processorTime } from "./pairs.ts"

export interface Sample {
  /** Delivered. */
  readonly mibps?: number
  /** Processor seconds of the gateway per GiB delivered. */
  readonly cpuPerGiB?: number
  readonly userPerGiB?: number
  readonly clientPerGiB?: number
  /** Share of datagrams or pings that did not arrive. */
  readonly loss?: number
  /** Round-trip times, in milliseconds. */
  readonly times?: ReadonlyArray<number>
  readonly connectionsPerSecond?: number
  /** How late the gateway's main loop came round, the slowest hundredth, in milliseconds. */
  readonly loopP99?: number
}

const mebibyte = 1024 * 1024
const pingIntervalMs = 2

const Report = Schema.fromJsonString(
  Schema.Struct({
    error: Schema.optionalKey(Schema.String),
    end: Schema.Struct({
      sum_received: Schema.optionalKey(Schema.Struct({ bytes: Schema.Finite, seconds: Schema.Finite })),
      sum: Schema.optionalKey(
        Schema.Struct({ packets: Schema.Finite, lost_packets: Schema.Finite, seconds: Schema.Finite })
      )
    })
  })
)

const MainThread = Schema.fromJsonString(Schema.Struct({ p99: Schema.Finite, heapMiB: Schema.Finite }))

const Connections = Schema.fromJsonString(
  Schema.Struct({ made: Schema.Finite, failed: Schema.Finite, seconds: Schema.Finite })
)

export const measure = (pair: Pair, work: Work, seconds: number): Effect.Effect<Sample, LabError> => {
  switch (work.kind) {
    case "tcp":
    case "udp":
      return transfer(pair, work, seconds)
    case "ping":
      return work.load ? pingUnderLoad(pair, seconds) : ping(pair, seconds)
    case "connect":
      return connections(pair, seconds)
  }
}

const transfer = Effect.fnUntraced(function* (pair: Pair, work: Work & { kind: "tcp" | "udp" }, seconds: number) {
  if (pair.delays !== null) yield* mainThread(pair)
  const gateway = processorTime(pair.gateway)
  const client = processorTime(pair.client)
  const { delivered, loss, took } = yield* iperf(pair, work, seconds)
  const gatewayAfter = processorTime(pair.gateway)
  const clientAfter = processorTime(pair.client)
  const loopP99 = pair.delays === null ? null : (yield* mainThread(pair)).p99
  const gibibytes = delivered / mebibyte / 1024
  const user = gatewayAfter.user - gateway.user
  const all = user + gatewayAfter.system - gateway.system
  return {
    mibps: delivered / mebibyte / took,
    cpuPerGiB: all / gibibytes,
    userPerGiB: user / gibibytes,
    clientPerGiB: (clientAfter.user + clientAfter.system - client.user - client.system) / gibibytes,
    ...(loss === null ? {} : { loss }),
    ...(loopP99 === null ? {} : { loopP99 })
  }
})

/**
 * What the gateway's main thread says of itself: its heap, and every second time how late its loop came round since the
 * call before (p99, ms).
 */
export const mainThread = Effect.fnUntraced(function* ({ delays, gateway }: Pair) {
  if (delays === null || gateway === null)
    return yield* new LabError({ message: "this pair's gateway is not Sallyport" })
  rmSync(delays, { force: true })
  process.kill(gateway, "SIGUSR2")
  return yield* Effect.suspend(() => Schema.decodeEffect(MainThread)(readFileSync(delays, "utf8"))).pipe(
    Effect.catchDefect(() => Effect.fail(new LabError({ message: "the gateway says nothing of its main thread" }))),
    Effect.mapError(() => new LabError({ message: "the gateway says nothing of its main thread" })),
    Effect.retry({ schedule: Schedule.spaced("20 millis"), times: 100 })
  )
})

const iperf = Effect.fnUntraced(function* (pair: Pair, work: Work & { kind: "tcp" | "udp" }, seconds: number) {
  const load =
    work.kind === "tcp"
      ? // Whatever the host's default is: one that paces would be measured instead of the gateway.
        ["--parallel", String(work.flows), "--congestion", "cubic"]
      : ["--udp", "--bitrate", `${work.megabits}M`, "--length", String(work.size)]
  const command = [
    "iperf3",
    "--client",
    pair.target,
    "--port",
    String(iperfPort),
    "--json",
    "--time",
    String(seconds),
    "--connect-timeout",
    "3000",
    ...load,
    ...(work.direction === "down" ? ["--reverse"] : [])
  ]
  // The server may still be busy with the end of the test before.
  return yield* Effect.retry(iperfOnce(pair, command, work.kind === "udp" ? work.size : null, seconds), { times: 2 })
})

const iperfOnce = Effect.fnUntraced(function* (
  pair: Pair,
  command: ReadonlyArray<string>,
  size: number | null,
  seconds: number
) {
  const { stdout } = yield* pair.lab.attempt("client", command, { timeout: `${seconds + 15} seconds` })
  const report = yield* Schema.decodeEffect(Report)(stdout).pipe(
    Effect.mapError(() => new LabError({ message: `iperf3 gave no report: ${stdout.slice(0, 200)}` }))
  )
  const { sum, sum_received: received } = report.end
  if (report.error !== undefined) return yield* new LabError({ message: `iperf3 says ${report.error}` })
  if (size === null) {
    if (received === undefined || received.bytes === 0) return yield* new LabError({ message: "iperf3 moved nothing" })
    return { delivered: received.bytes, took: received.seconds, loss: null }
  }
  if (sum === undefined || sum.packets === 0) return yield* new LabError({ message: "iperf3 moved nothing" })
  return {
    delivered: (sum.packets - sum.lost_packets) * size,
    took: sum.seconds,
    loss: sum.lost_packets / sum.packets
  }
})

const ping = Effect.fnUntraced(function* (pair: Pair, seconds: number) {
  const count = Math.round((seconds * 1_000) / pingIntervalMs)
  const { stdout } = yield* pair.lab.attempt(
    "client",
    ["ping", "-n", "-c", String(count), "-i", String(pingIntervalMs / 1_000), "-W", "2", pair.target],
    { timeout: `${seconds * 4 + 20} seconds` }
  )
  const times = Array.from(stdout.matchAll(/ time=([0-9.]+) ms/g), (match) => Number(match[1]))
  return { times, loss: Math.max(0, 1 - times.length / count) } satisfies Sample
})

const pingUnderLoad = Effect.fnUntraced(function* (pair: Pair, seconds: number) {
  // The load begins earlier and goes on a little longer.
  const load = iperf(pair, { kind: "tcp", direction: "up", flows: 1 }, seconds + 2)
  const probes = Effect.andThen(Effect.sleep("800 millis"), ping(pair, seconds))
  const [{ delivered, took }, sample] = yield* Effect.all([load, probes], { concurrency: 2 })
  return { ...sample, mibps: delivered / mebibyte / took } satisfies Sample
})

const connections = Effect.fnUntraced(function* (pair: Pair, seconds: number) {
  const program = fileURLToPath(new URL("./connectMain.ts", import.meta.url))
  const text = yield* pair.lab.exec(
    "client",
    [process.execPath, program, pair.target, String(connectPort), String(seconds)],
    { timeout: `${seconds + 20} seconds` }
  )
  const {
    failed,
    made,
    seconds: took
  } = yield* Effect.mapError(
    Schema.decodeEffect(Connections)(text),
    () => new LabError({ message: `no count of connections: ${text.slice(0, 200)}` })
  )
  return { connectionsPerSecond: made / took, loss: failed / Math.max(1, made + failed) } satisfies Sample
})

/** Bytes both ways through the pair, compared by SHA-256 at both ends; `null` when all are right, else what is not. */
export const checkIntegrity = Effect.fnUntraced(function* (pair: Pair, size: number) {
  const { lab } = pair
  const headers = `${lab.directory}/headers`
  const upload = yield* lab.writeFile("upload", "")
  const got = yield* lab.exec(
    "client",
    [
      "sh",
      "-c",
      `curl -sS --max-time 60 -D ${headers} http://${pair.target}/bytes/${size} | sha256sum; cat ${headers}`
    ],
    { timeout: "70 seconds" }
  )
  const received = /^([0-9a-f]{64}) /.exec(got)?.[1]
  const served = /^x-sha256: ([0-9a-f]{64})/m.exec(got)?.[1]
  yield* lab.exec("client", ["sh", "-c", `head -c ${size} /dev/urandom > ${upload}`])
  const sent = (yield* lab.exec("client", ["sha256sum", upload])).slice(0, 64)
  const answer = yield* lab.exec(
    "client",
    ["curl", "-sS", "--max-time", "60", "-H", "Expect:", "--data-binary", `@${upload}`, `http://${pair.target}/`],
    { timeout: "70 seconds" }
  )
  if (received === undefined || received !== served) return "a download came out wrong"
  return answer.includes(sent) && answer.includes(`:${size},`) ? null : "an upload came out wrong"
})
