/**
 * What connected clients cost that send nothing: `npm run bench:idle`. Processor time of the whole gateway process, all
 * threads, over a minute that begins when everything has settled; then how long `sallyport status`, as it is built, takes
 * from its start to its end. Options: `--clients`, `--seconds`, `--json`.
 */
import { fileURLToPath } from "node:url"
import { Effect, Fiber, Schema } from "effect"
import { Lab } from "../../src/lab/demo/Lab.ts"
import { cpuMs, gatewayPid, generate, runBench, startFleetGateway } from "./support/benchLab.ts"
import { clock } from "./support/fleet.ts"
import { option, percentile, report } from "./support/report.ts"

const clients = option("clients", 1_000)
const seconds = option("seconds", 60)
/** After the last handshake: optimization, collections and what is written down once a second come to rest. */
const settleSeconds = 20

const looks = 10
const built = fileURLToPath(new URL("../../dist/src/bin.js", import.meta.url))

/** Sorted, in milliseconds. */
const statusTimes = Effect.gen(function* () {
  const lab = yield* Lab
  const times: Array<number> = []
  for (let look = 0; look < looks; look++) {
    const from = clock()
    yield* lab.exec("gateway", [process.execPath, built, "status", "--socket", `${lab.directory}/gateway.sock`])
    times.push(clock() - from)
  }
  return times.toSorted((a, b) => a - b)
})

const Result = Schema.Struct({ connected: Schema.Finite })

await runBench(
  Effect.gen(function* () {
    const fleet = yield* startFleetGateway(clients)
    const rate = 200
    const load = yield* Effect.forkChild(
      generate("idleMain.ts", fleet, {
        sources: 20,
        seconds: clients / rate + settleSeconds + seconds + 60,
        parameters: { rate, seconds: settleSeconds + seconds + 5 },
        result: Result
      })
    )
    yield* Effect.sleep((clients / rate + settleSeconds) * 1_000)
    const pid = gatewayPid(fleet)
    const [from, cpu] = [clock(), cpuMs(pid)]
    yield* Effect.sleep(seconds * 1_000)
    const used = cpuMs(pid) - cpu
    const took = clock() - from
    const status = yield* fleet.gateway.status
    const { connected } = yield* Fiber.join(load)
    const times = yield* statusTimes
    report(`${clients} connected clients without traffic, ${seconds} s`, [
      { name: "processor time, share of one core", value: (used / took) * 100, unit: "%", target: 1 },
      { name: "clients without a handshake", value: clients - connected, unit: "", target: 0 },
      {
        name: "clients that the gateway sees as gone",
        value: status.clients.filter((client) => !client.connected).length,
        unit: "",
        target: 0
      },
      { name: "status, start to end, p50", value: percentile(times, 0.5), unit: "ms" },
      { name: "status, start to end, p90", value: percentile(times, 0.9), unit: "ms", target: 400 }
    ])
  })
)
