/**
 * How fast a client gets in while the company's DNS is a black hole: `npm run bench:accept`. A real gateway in the lab;
 * one load generator with its own WireGuard, real UDP. The gateway is judged by the kernel's time stamps on its wire;
 * what the generator itself sees has the generator's own delays in it. Options: `--clients`, `--rate` (per second),
 * `--sources`, `--timeline`, `--json`, `--record`; `--state N`: N turns alone and in a site with a PostgreSQL of its own on
 * the same host, which may not make a difference: the ratios of turns next to each other, and where the true one lies in
 * 95 of 100 cases.
 */
import { Effect } from "effect"
import { inLab } from "../support/lab.ts"
import { acceptRun, acceptRunInSite, acceptTitle } from "./support/acceptRun.ts"
import { runBench } from "./support/benchLab.ts"
import { compare, type Turn } from "./support/ratios.ts"
import { type Measure, option, report } from "./support/report.ts"

const turns = option("state", 0)
/** A site may cost so much more. */
const mostShare = 1.05

const compared = [
  "handshake initiation → response, p50",
  "handshake, after the first 3 s, p99",
  "DNS query → proxy IPs, p50",
  "DNS, after the first 3 s, p99",
  "gateway processor time"
]
const figures = (measures: ReadonlyArray<Measure>): ReadonlyArray<number> =>
  compared.map((name) => measures.find((measure) => measure.name === name)!.value)

const alone = Effect.map(acceptRun, figures)
const inSite = Effect.map(acceptRunInSite, figures)

const compareStates = async (): Promise<void> => {
  const pairs: Array<ReadonlyArray<Turn>> = []
  for (let turn = 0; turn < turns; turn++) {
    const run = (state: typeof alone | typeof inSite) => Effect.runPromise(inLab(state))
    const first = await run(turn % 2 === 0 ? alone : inSite)
    const second = await run(turn % 2 === 0 ? inSite : alone)
    const [old, next] = turn % 2 === 0 ? [first, second] : [second, first]
    pairs.push(compared.map((_, i) => [old[i]!, next[i]!]))
    process.stderr.write(`turn ${turn + 1} of ${turns}: ${JSON.stringify(pairs.at(-1))}\n`)
  }
  report(
    `${acceptTitle}; in a site beside alone, ${turns} turns`,
    compared.flatMap((name, i): ReadonlyArray<Measure> => {
      const { from, new: inSite, old, ratio, to } = compare(pairs.map((pair) => pair[i]!))
      return [
        { name: `${name}: alone`, value: old, unit: name.includes("processor") ? "ms/client" : "ms" },
        { name: `${name}: in a site`, value: inSite, unit: name.includes("processor") ? "ms/client" : "ms" },
        { name: `${name}: ratio`, value: ratio, unit: "×", target: mostShare },
        { name: `${name}: ratio, in 95 of 100 cases at least`, value: from, unit: "×" },
        { name: `${name}: ratio, in 95 of 100 cases at most`, value: to, unit: "×" }
      ]
    })
  )
}

await (turns > 0 ? compareStates() : runBench(Effect.map(acceptRun, (measures) => report(acceptTitle, measures))))
