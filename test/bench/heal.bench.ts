/**
 * How soon everything works again when DNS is back: `npm run bench:heal`. Names in demand, each knocked at several times
 * a second, wait behind a black-holed resolver; the time of a name is from the moment DNS is back until an answer of
 * the real host is at the client. Options: `--names`, `--clients`, `--outage` (seconds), `--json`.
 */
import { Effect, Fiber, Schedule, Schema } from "effect"
import { startOrigins } from "../../src/lab/demo/company.ts"
import { labAddresses, LabError } from "../../src/lab/demo/Lab.ts"
import { startDnsmasq } from "../support/dnsmasq.ts"
import { blackHoleDns } from "../support/lab.ts"
import { generate, runBench, startFleetGateway } from "./support/benchLab.ts"
import { clock } from "./support/fleet.ts"
import { latencies, option, report } from "./support/report.ts"

const names = option("names", 1_000)
const clients = option("clients", 20)
const outage = option("outage", 10)

const Result = Schema.Struct({
  asked: Schema.Finite,
  refused: Schema.Finite,
  healed: Schema.Array(Schema.Finite)
})

await runBench(
  Effect.gen(function* () {
    const { origin } = labAddresses.inner
    yield* startDnsmasq({
      names: {},
      ttl: 60,
      more: [`address=/svc.corp.internal/${origin.v4}`, `address=/svc.corp.internal/${origin.v6}`]
    })
    yield* startOrigins
    yield* blackHoleDns(true)
    const fleet = yield* startFleetGateway(clients)
    const load = yield* Effect.forkChild(
      generate("healMain.ts", fleet, {
        sources: 20,
        seconds: outage + 120,
        parameters: { names, seconds: outage + 60 },
        result: Result
      })
    )
    const everyName = fleet.gateway.status.pipe(
      Effect.filterOrFail(
        ({ mappings }) => mappings.length === names,
        ({ mappings }) => new LabError({ message: `only ${mappings.length} of ${names} names were asked for` })
      ),
      Effect.retry(Schedule.spaced("500 millis").pipe(Schedule.upTo({ times: 60 })))
    )
    yield* everyName
    yield* Effect.sleep(outage * 1_000)
    const resolvedBefore = (yield* fleet.gateway.status).mappings.filter(({ state }) => state === "Resolved").length
    const before = clock()
    yield* blackHoleDns(false)
    const back = clock()
    const { asked, healed, refused } = yield* Fiber.join(load)
    // From before the command: it takes some ten milliseconds itself.
    const times = healed.map((at) => at - before)
    report(`${names} names in demand of ${clients} clients, DNS back after an outage of ${outage} s`, [
      ...latencies("DNS back → answer of the real host", times).slice(0, 3),
      { name: "last name healed", value: Math.max(...times), unit: "ms", target: 2_000 },
      { name: "names not healed", value: names - healed.length, unit: "", target: 0 },
      { name: "names without proxy IPs", value: names - asked, unit: "", target: 0 },
      { name: "names refused by ICMP meanwhile", value: refused, unit: "" },
      { name: "names resolved during the outage", value: resolvedBefore, unit: "", target: 0 },
      { name: "taking the black hole away took", value: back - before, unit: "ms" }
    ])
  })
)
