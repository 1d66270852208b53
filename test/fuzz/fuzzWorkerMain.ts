/** The thread of one campaign. */
import { parentPort, workerData } from "node:worker_threads"
import { Campaign } from "./Campaign.ts"
import type { CampaignOrder, WorkerMessage } from "./superviseCampaign.ts"
import { Tape } from "./Tape.ts"
import type { Target } from "./Target.ts"

const { module, shared, ...order } = workerData as CampaignOrder & { readonly shared: SharedArrayBuffer }
const { target } = (await import(module)) as { readonly target: Target }
const tell = (message: WorkerMessage): void => parentPort?.postMessage(message)
const campaign = new Campaign({
  ...order,
  target,
  tape: new Tape(shared),
  found: (finding) => tell({ _tag: "Found", finding })
})
tell({ _tag: "Ended", summary: campaign.start(new URL("../../", import.meta.url)) })
