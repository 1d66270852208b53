/** One run of `bench:accept`: a gateway that has just started, and clients that come in while DNS is a black hole. */
import process from "node:process"
import { Effect, Schedule, Schema } from "effect"
import { Lab } from "../../../src/lab/demo/Lab.ts"
import { blackHoleDns } from "../../support/lab.ts"
import { startPostgres } from "../../support/postgres.ts"
import { cpuMs, gatewayPid, generate, startFleetGateway, watchOthers } from "./benchLab.ts"
import { untilCalm } from "./calm.ts"
import { latencies, type Measure, option, percentile } from "./report.ts"
import { Sample, watchWire } from "./wireTimes.ts"

const clients = option("clients", 4_000)
const rate = option("rate", 200)
const sources = option("sources", 20)

export const acceptTitle = `${clients} new clients at ${rate}/s from ${sources} addresses, upstream DNS black-holed`

const Result = Schema.Struct({
  handshakes: Schema.Array(Sample),
  queries: Schema.Array(Sample),
  late: Schema.Array(Schema.Finite)
})
/** What a gateway that has just started has behind it: its code is compiled while it runs. */
const warmSeconds = 3
const warm = (samples: ReadonlyArray<typeof Sample.Type>) => samples.filter(([at]) => at >= warmSeconds)
const took = (samples: ReadonlyArray<typeof Sample.Type>) => samples.map(([, ms]) => ms)

/** Median and worst of each second, for `--timeline`. */
const timeline = (name: string, samples: ReadonlyArray<typeof Sample.Type>): string => {
  const seconds = Map.groupBy(samples, ([at]) => Math.floor(at))
  const cells = Array.from(seconds.values(), (of) => {
    const sorted = took(of).toSorted((a, b) => a - b)
    return `${percentile(sorted, 0.5).toFixed(1)}/${percentile(sorted, 1).toFixed(0)}`
  })
  return `${name} (p50/max of each second): ${cells.join(" ")}\n`
}

/** In a lab of its own; `settings` are further lines of the gateway's file. */
const acceptRunWith = Effect.fnUntraced(function* (settings: string) {
  yield* blackHoleDns(true)
  const fleet = yield* startFleetGateway(clients, settings)
  const pid = gatewayPid(fleet)
  const watch = yield* watchWire
  yield* untilCalm(30)
  const before = cpuMs(pid)
  const shareOfOthers = watchOthers(pid)
  const { handshakes, late, queries } = yield* generate("acceptMain.ts", fleet, {
    sources,
    seconds: clients / rate + 60,
    parameters: { rate },
    result: Result
  })
  const others = shareOfOthers()
  const wire = yield* watch.stop
  const { counters } = yield* fleet.gateway.anyStatus.pipe(
    Effect.retry(Schedule.spaced("1 second").pipe(Schedule.upTo({ times: 20 })))
  )
  if (process.argv.includes("--timeline")) {
    process.stdout.write(timeline("handshakes", wire.handshakes) + timeline("queries", wire.queries))
  }
  const measures: ReadonlyArray<Measure> = [
    ...latencies("handshake initiation → response", took(wire.handshakes), 5),
    ...latencies("DNS query → proxy IPs", took(wire.queries), 5),
    ...latencies(`handshake, after the first ${warmSeconds} s`, took(warm(wire.handshakes))),
    ...latencies(`DNS, after the first ${warmSeconds} s`, took(warm(wire.queries))),
    ...latencies("the generator sees: handshake", took(handshakes)),
    ...latencies("the generator sees: DNS", took(queries)),
    { name: "handshakes without response", value: clients - handshakes.length, unit: "", target: 0 },
    { name: "queries without proxy IPs", value: clients - queries.length, unit: "", target: 0 },
    {
      name: "not seen on the wire",
      value: 2 * clients - wire.handshakes.length - wire.queries.length,
      unit: "",
      target: 0
    },
    ...latencies("generator's own delay", late).slice(2),
    { name: "processor time that others took", value: others * 100, unit: "%" },
    { name: "lookups started", value: counters.resolutions["lookups.started"] ?? 0, unit: "" },
    { name: "gateway processor time", value: (cpuMs(pid) - before) / clients, unit: "ms/client" }
  ]
  return measures
})

export const acceptRun = acceptRunWith("")

/** The same of a gateway of a site, whose PostgreSQL is on its own host. */
export const acceptRunInSite = Effect.gen(function* () {
  const lab = yield* Lab
  const within = { namespace: lab.namespace("gateway"), address: "127.0.0.1" }
  const postgres = yield* startPostgres({ within, durable: true })
  const database = yield* postgres.database
  return yield* acceptRunWith(`state: postgres://sallyport@127.0.0.1:${postgres.port}/${database}?sslmode=disable`)
})
