/** Prints what the kernel makes of this thread's wishes, and how it schedules this thread, a later one and a child. */
import { execFileSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { Worker } from "node:worker_threads"
import { makeMemory } from "../../../layers/dataplane/native/memory.ts"
import { thisThread } from "../../../layers/dataplane/native/schedulingPolicy.ts"
import { policyIn } from "../../support/schedulingPolicies.ts"

const thread = thisThread(makeMemory(1))
const self = () => policyIn(readFileSync("/proc/thread-self/stat", "utf8"))
const step = (realTime: boolean) => ({ done: thread.setRealTime(realTime), policy: self() })

const first = step(true)
const child = policyIn(execFileSync("cat", ["/proc/self/stat"], { encoding: "utf8", timeout: 5_000 }))
const later = await new Promise<string>((resolve, reject) => {
  const source = `require("node:worker_threads").parentPort.postMessage(
    require("node:fs").readFileSync("/proc/thread-self/stat", "utf8"))`
  new Worker(source, { eval: true }).once("message", resolve).once("error", reject)
})
process.stdout.write(JSON.stringify({ steps: [first, step(false), step(true)], child, later: policyIn(later) }))
