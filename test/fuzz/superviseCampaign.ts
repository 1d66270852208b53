import { inspect } from "node:util"
import { Worker } from "node:worker_threads"
import type { Summary } from "./Campaign.ts"
import type { Finding } from "./Story.ts"
import { Tape } from "./Tape.ts"

export interface CampaignOrder {
  readonly name: string
  /** Module whose `target` is run. */
  readonly module: string
  readonly seed: number
  readonly seconds: number
  readonly corpus: ReadonlyArray<Uint8Array>
}

export interface CampaignResult extends Summary {
  readonly findings: ReadonlyArray<Finding>
}

export type WorkerMessage =
  | { readonly _tag: "Found"; readonly finding: Finding }
  | { readonly _tag: "Ended"; readonly summary: Summary }

/** CPU of all threads without an input's end: it hangs. Not by the clock: on a loaded machine a thread may get none. */
const hangCpuMs = 60_000
/** What waits for ever takes no CPU. */
const hangMs = 600_000

/** Runs a campaign in a thread of its own. One that hangs or dies is ended; its story so far is the finding. */
export const superviseCampaign = (order: CampaignOrder, patienceMs = hangCpuMs): Promise<CampaignResult> =>
  new Promise((resolve, reject) => {
    const shared = new SharedArrayBuffer(Tape.byteLength)
    const tape = new Tape(shared)
    const findings: Array<Finding> = []
    const begun = performance.now()
    const worker = new Worker(new URL("fuzzWorkerMain.ts", import.meta.url), {
      workerData: { ...order, shared },
      resourceLimits: { maxOldGenerationSizeMb: 1_024 }
    })
    const end = (summary: Summary): void => {
      clearInterval(watch)
      void worker.terminate().then(() => resolve({ ...summary, findings }))
    }
    const die = (reason: string): void => {
      findings.push({ ...tape.read(), target: order.name, reason })
      const seconds = (performance.now() - begun) / 1_000
      end({ target: order.name, inputs: tape.executions, seconds, blocks: 0, corpus: [] })
    }
    let seen = -1
    let since = performance.now()
    let cpu = process.cpuUsage()
    const watch = setInterval(() => {
      if (tape.executions !== seen) {
        seen = tape.executions
        since = performance.now()
        cpu = process.cpuUsage()
        return
      }
      const { system, user } = process.cpuUsage(cpu)
      if ((system + user) / 1_000 > patienceMs || performance.now() - since > hangMs) die("hangs")
    }, 100)
    worker.on("message", (message: WorkerMessage) => {
      if (message._tag === "Found") findings.push(message.finding)
      else end(message.summary)
    })
    worker.once("error", (error) => {
      // Before the first input it is the target that does not load.
      if (tape.executions === 0) reject(error)
      else die(`ended its thread: ${error instanceof Error ? error.message : inspect(error)}`)
    })
  })
