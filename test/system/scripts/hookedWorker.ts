/** A packet worker that breaks at a command: a policy whose first own address reads `<epoch>:<throw|exit|spin>`. */
import { workerData } from "node:worker_threads"
import { runPacketWorker, type WorkerStart } from "../../../layers/native/packetWorker.ts"

const start = workerData as WorkerStart

runPacketWorker(start, (command) => {
  if (command._tag !== "SetPolicy") return
  const [epoch, how] = (command.ownAddresses[0] ?? "").split(":")
  // The next worker gets the same policy.
  if (Number(epoch) !== start.epoch) return
  if (how === "throw") throw new Error("broken on purpose")
  if (how === "exit") process.exit(3)
  for (;;) {
    // Neither turns nor reads messages.
  }
})
