/**
 * How soon traffic flows again when others have changed the host, and what looking after it costs: `npm run
 * bench:repair`. The time of a loss is from before the command that does it until the repair has been told and an echo
 * request of the client, one of which leaves every 10 ms then, has been answered by the LAN over both families. Options:
 * `--runs`, `--json`.
 */
import { fileURLToPath } from "node:url"
import { Effect, Schedule, Schema } from "effect"
import { Lab, labAddresses, LabError } from "../../src/lab/demo/Lab.ts"
import { hostLosses } from "../support/hostLosses.ts"
import { connectWireguardGo, startWorld } from "../support/labWorld.ts"
import { runBench } from "./support/benchLab.ts"
import { clock } from "./support/fleet.ts"
import { latencies, option, percentile, report } from "./support/report.ts"

const runs = option("runs", 20)
/** Processor time of a process that has nothing else to do, half a minute long. */
const Idle = Schema.fromJsonString(Schema.Struct({ value: Schema.Struct({ msPerSecond: Schema.Finite }) }))
/** Between two losses: more often, it would be told as somebody who keeps changing the host. */
const pauseMs = 2_500

const { origin } = labAddresses.inner

await runBench(
  Effect.gen(function* () {
    const lab = yield* Lab
    const probe = fileURLToPath(new URL("../system/scripts/hostNetworkProbe.ts", import.meta.url))
    const idling = yield* lab.exec("gateway", [process.execPath, probe, "idle", "{}", ""], { timeout: "60 seconds" })
    const { value } = yield* Schema.decodeEffect(Idle)(idling.trim())
    const world = yield* startWorld({
      resources: `  lan: { cidr: ${origin.v4}/32, allow: [visitor] }\n  lan6: { cidr: "${origin.v6}/128", allow: [visitor] }`
    })
    yield* connectWireguardGo(world, { allowedIps: [`${origin.v4}/32`, `${origin.v6}/128`] })
    const reach = (address: string) => lab.exec("client", ["ping", "-n", "-c", "1", "-W", "1", address])
    for (const address of [origin.v4, origin.v6]) {
      yield* Effect.retry(reach(address), { schedule: Schedule.spaced("200 millis"), times: 50 })
    }
    const repairs = Effect.map(world.gateway.process.output, (log) => log.split("is put right").length - 1)
    /** Until the repair is told and both families are answered: ping stops at the first answer. */
    const healed = (before: number) =>
      repairs.pipe(
        Effect.filterOrFail(
          (now) => now > before,
          () => new LabError({ message: "not repaired" })
        ),
        Effect.retry({ schedule: Schedule.spaced("5 millis"), times: 4_000 }),
        Effect.andThen(
          Effect.forEach([origin.v4, origin.v6], (address) =>
            lab.exec("client", ["ping", "-n", "-c", "1", "-i", "0.01", "-w", "10", address])
          )
        )
      )

    const all: Array<number> = []
    const measures = []
    for (const { command, name } of hostLosses) {
      const times: Array<number> = []
      for (let run = 0; run < runs; run++) {
        yield* Effect.sleep(pauseMs * (0.5 + Math.random()))
        const before = yield* repairs
        const from = clock()
        yield* lab.exec("gateway", ["sh", "-ec", command])
        yield* healed(before)
        times.push(clock() - from)
      }
      all.push(...times)
      const sorted = times.toSorted((a, b) => a - b)
      measures.push({ name: `${name}, p99 of ${runs}`, value: percentile(sorted, 0.99), unit: "ms", target: 2_000 })
    }
    report("repairs of the host", [
      ...measures,
      ...latencies("all", all, 2_000),
      { name: "looking after an idle host, share of one core", value: value.msPerSecond / 10, unit: "%", target: 0.2 }
    ])
  })
)
