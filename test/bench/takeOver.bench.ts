/**
 * How soon stock clients are answered again when a gateway of a site is killed: `npm run bench:takeover`. Two gateways,
 * whose address keepalived moves; a client behind a router that translates, and one without, are answered ten times a
 * second, and each has an upload and a download open at each kill. Every other time PostgreSQL stands still. A line of
 * each kill is told as it goes. Options: `--runs`, `--json`, `--record FILE`.
 */
import { Effect } from "effect"
import { inSite } from "../support/site.ts"
import { startTakeOvers, type TakeOver } from "../support/takeOvers.ts"
import { latencies, option, report } from "./support/report.ts"

const runs = option("runs", 20)

const bench = Effect.gen(function* () {
  const { connections, kill, postgres, restart, successor } = yield* startTakeOvers
  const all: Array<TakeOver> = []
  const ended: Array<string> = []
  for (let run = 0; run < runs; run++) {
    if (run > 0) yield* restart
    yield* successor
    const isThere = run % 2 === 0
    if (!isThere) yield* postgres.suspend
    const lost = yield* connections
    // Anywhere within the interval of keepalived's script.
    yield* Effect.sleep(1_000 + 1_000 * Math.random())
    const one = yield* kill
    all.push(one)
    const now = yield* lost
    ended.push(...now)
    yield* postgres.resume
    const { movedMs, repliedMs } = one
    const [home, open] = [repliedMs.client, repliedMs.openClient].map(Math.round)
    process.stderr.write(
      `${run + 1}${isThere ? "" : ", without PostgreSQL"}: moved ${movedMs}, replies ${home} (NAT) and ${open} ms; ${now.join(", ") || "connections go on"}\n`
    )
  }
  const after = all.flatMap(({ movedMs, repliedMs }) => Object.values(repliedMs).map((ms) => ms - movedMs))
  report(`${runs} kills of the gateway that has the address`, [
    ...latencies(
      "kill → next reply, client behind NAT",
      all.map(({ repliedMs }) => repliedMs.client),
      2_000
    ),
    ...latencies(
      "kill → next reply, client without",
      all.map(({ repliedMs }) => repliedMs.openClient),
      2_000
    ),
    ...latencies("address moved → next reply", after, 500),
    { name: `connections that ended, of ${runs * 4}`, value: ended.length, unit: "", target: 0 }
  ])
})

await Effect.runPromise(inSite(bench))
