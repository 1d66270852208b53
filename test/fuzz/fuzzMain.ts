/**
 * `npm run fuzz -- [--minutes N | --seconds N] [--jobs N] [--seed N] [--record FILE] [--keep] [target …]`: hostile bytes
 * for every part that reads them. Time is per target; exit code 1 when something was found.
 */
import { availableParallelism } from "node:os"
import { parseArgs } from "node:util"
import { moduleOf, readCorpus, targetNames, writeCorpus, writeFinding } from "./places.ts"
import { addRecord } from "./record.ts"
import { type CampaignResult, superviseCampaign } from "./superviseCampaign.ts"

const fail = (problem: string): never => {
  console.error(problem)
  process.exit(2)
}

const numberOf = (flag: string, text: string, minimum: number): number => {
  const number = Number(text)
  return Number.isFinite(number) && number >= minimum
    ? number
    : fail(`--${flag}: "${text}" is no number from ${minimum}`)
}

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    minutes: { type: "string" },
    seconds: { type: "string", default: "10" },
    jobs: { type: "string", default: `${availableParallelism()}` },
    seed: { type: "string", default: `${Date.now() % 0x7fff_ffff}` },
    record: { type: "string" },
    keep: { type: "boolean", default: false }
  }
})
const unknown = positionals.find((name) => !targetNames.includes(name))
if (unknown !== undefined) fail(`no target "${unknown}" — there are ${targetNames.join(", ")}`)
const seconds =
  values.minutes === undefined ? numberOf("seconds", values.seconds, 1) : numberOf("minutes", values.minutes, 0.02) * 60
const jobs = Math.trunc(numberOf("jobs", values.jobs, 1))
const seed = Math.trunc(numberOf("seed", values.seed, 0))
const waiting = positionals.length > 0 ? [...positionals] : [...targetNames]
const results: Array<CampaignResult> = []
const maxCorpusLength = 16_384

const run = async (name: string): Promise<void> => {
  const corpus = readCorpus(name)
  const result = await superviseCampaign({ name, module: moduleOf(name), seed, seconds, corpus })
  const { blocks, findings, inputs } = result
  const rate = Math.round(inputs / result.seconds)
  console.log(
    `${name.padEnd(12)} ${inputs} inputs, ${rate}/s, ${blocks} blocks, ${result.corpus.length} in the corpus, ${findings.length} findings`
  )
  for (const finding of findings) console.log(`  ${writeFinding(finding)}: ${finding.reason}`)
  if (values.keep && result.corpus.length > 0) writeCorpus(name, result.corpus, maxCorpusLength)
  results.push(result)
}

const work = async (): Promise<void> => {
  for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) await run(name)
}

console.log(`seed ${seed}, ${seconds} s per target, ${jobs} at a time`)
await Promise.all(Array.from({ length: jobs }, work))
const found = results.flatMap(({ findings }) => findings).length
console.log(`${results.reduce((sum, { inputs }) => sum + inputs, 0)} inputs, ${found} findings`)
if (values.record !== undefined) console.log(addRecord(values.record, { seed, results }))
process.exit(found === 0 ? 0 : 1)
