/**
 * How fast a client gets in while the company's DNS is a black hole: `npm run bench:accept`. A real gateway in the lab;
 * one load generator with its own WireGuard, real UDP. Options: `--clients`, `--rate` (per second), `--sources`, `--json`.
 */
import process from "node:process"
import { Effect, Schedule, Schema } from "effect"
import { blackHoleDns } from "../support/lab.ts"
import { cpuMs, gatewayPid, generate, runBench, startFleetGateway } from "./support/benchLab.ts"
import { latencies, option, percentile, report } from "./support/report.ts"

const clients = option("clients", 4_000)
const rate = option("rate", 200)
const sources = option("sources", 20)

const Sample = Schema.Tuple([Schema.Finite, Schema.Finite])
const Result = Schema.Struct({
  handshakes: Schema.Array(Sample),
  queries: Schema.Array(Sample),
  late: Schema.Array(Schema.Finite)
})
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

await runBench(
  Effect.gen(function* () {
    yield* blackHoleDns(true)
    const fleet = yield* startFleetGateway(clients)
    const pid = gatewayPid(fleet)
    const before = cpuMs(pid)
    const { handshakes, late, queries } = yield* generate("acceptMain.ts", fleet, {
      sources,
      seconds: clients / rate + 60,
      parameters: { rate },
      result: Result
    })
    const { counters } = yield* fleet.gateway.status.pipe(
      Effect.retry(Schedule.spaced("1 second").pipe(Schedule.upTo({ times: 20 })))
    )
    if (process.argv.includes("--timeline")) {
      process.stdout.write(timeline("handshakes", handshakes) + timeline("queries", queries))
    }
    report(`${clients} new clients at ${rate}/s from ${sources} addresses, upstream DNS black-holed`, [
      ...latencies("handshake initiation → response", took(handshakes), 5),
      ...latencies("DNS query → proxy IPs", took(queries), 5),
      { name: "handshakes without response", value: clients - handshakes.length, unit: "", target: 0 },
      { name: "queries without proxy IPs", value: clients - queries.length, unit: "", target: 0 },
      ...latencies("generator's own delay", late).slice(2),
      { name: "lookups started", value: counters.resolutions["lookups.started"] ?? 0, unit: "" },
      { name: "gateway processor time", value: (cpuMs(pid) - before) / clients, unit: "ms/client" }
    ])
  })
)
