/**
 * A packet worker that breaks at a command: a policy whose first own address reads `<epoch>:<throw|exit|spin>`, or `slow`:
 * each resource takes 5 ms from then on. The thread of number `LAME_THREAD` does not even load; all take `LOAD_MS` for it.
 */
import { threadId, workerData } from "node:worker_threads"
import { runPacketWorker, type WorkerSeat } from "../../../layers/dataplane/native/packetWorker.ts"

if (process.env["LAME_THREAD"] === String(threadId)) process.exit(4)

const block = (ms: number) => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)

block(Number(process.env["LOAD_MS"] ?? 0))

let slow = false

runPacketWorker(workerData as WorkerSeat, (command, current) => {
  if (slow && command._tag === "SetResource") block(5)
  if (command._tag !== "SetPolicy") return
  const [epoch, how] = (command.ownAddresses[0] ?? "").split(":")
  // The next worker gets the same policy.
  if (Number(epoch) !== current) return
  slow = how === "slow"
  if (slow) return
  if (how === "throw") throw new Error("broken on purpose")
  if (how === "exit") process.exit(3)
  for (;;) {
    // Neither turns nor reads messages.
  }
})
