import { workerData } from "node:worker_threads"
import { runPacketWorker, type WorkerStart } from "./packetWorker.ts"

runPacketWorker(workerData as WorkerStart)
