import { setFlagsFromString } from "node:v8"
import { workerData } from "node:worker_threads"
import { runPacketWorker, type WorkerSeat } from "./packetWorker.ts"

// A packet goes through a longer chain of small functions than V8 joins into one by itself (a quarter of the time).
setFlagsFromString("--max-inlined-bytecode-size-cumulative=4000")

runPacketWorker(workerData as WorkerSeat)
