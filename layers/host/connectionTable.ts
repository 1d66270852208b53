import type { ConnectionTable } from "../../src/host/connectionTable.ts"
import { readText } from "./readText.ts"

/** `null`: the kernel tracks no connections yet. */
export const connectionTable = (): ConnectionTable | null => {
  const [used, most] = ["count", "max"].map((name) => readText(`/proc/sys/net/netfilter/nf_conntrack_${name}`))
  return used === undefined || most === undefined ? null : { used: Number(used), most: Number(most) }
}
