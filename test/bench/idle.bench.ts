/**
 * What connected clients cost that send nothing: `npm run bench:idle`. Processor time of the whole gateway process, all
 * threads, over a minute that begins when everything has settled. Options: `--clients`, `--seconds`, `--json`.
 */
import { Effect, Fiber, Schema } from "effect"
import { cpuMs, gatewayPid, generate, runBench, startFleetGateway } from "./support/benchLab.ts"
import { clock } from "./support/fleet.ts"
import { option, report } from "./support/report.ts"

const clients = option("clients", 1_000)
const seconds = option("seconds", 60)
/** After the last handshake: optimization, collections and what is written down once a second come to rest. */
const settleSeconds = 20

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
    report(`${clients} connected clients without traffic, ${seconds} s`, [
      { name: "processor time, share of one core", value: (used / took) * 100, unit: "%", target: 1 },
      { name: "clients without a handshake", value: clients - connected, unit: "", target: 0 },
      {
        name: "clients that the gateway sees as gone",
        value: status.clients.filter((client) => !client.connected).length,
        unit: "",
        target: 0
      }
    ])
  })
)
