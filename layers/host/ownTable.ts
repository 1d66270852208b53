/** The gateway's own nftables table as it was made, to be told from what others make of it. */
import { firewallTable } from "../../src/host/firewall.ts"
import type { HostPlan } from "../../src/host/HostNetwork.ts"
import type { HostObserved } from "../../src/host/hostPlan.ts"
import { NativeError } from "../dataplane/native/nativeError.ts"
import type { HostLook } from "./hostLook.ts"

interface OwnTable {
  readonly plan: Pick<HostPlan, "device" | "firewall">
  /** As the kernel had it after it was made; `null`: it was not to be seen. */
  table: string | null
  /** How many changes of rules there had been by then; `null`: not known, so that the table itself is looked at. */
  generation: number | null
}

type Look = Pick<HostLook, "generation" | "table">

/** The count of changes first: one that comes in between is looked at the next time. */
export const rememberTable = (look: Look, own: OwnTable): void => {
  const generation = look.generation()
  const table = look.table(firewallTable(own.plan.device))
  const seen = typeof table === "string"
  own.table = seen ? table : null
  own.generation = seen ? generation : null
}

export const tableState = (look: Look, own: OwnTable): HostObserved["table"] | NativeError => {
  if (own.plan.firewall === "off") return "right"
  const generation = look.generation()
  if (generation !== null && generation === own.generation) return "right"
  const table = look.table(firewallTable(own.plan.device))
  if (table instanceof NativeError) return table
  if (table === null) return "gone"
  if (table !== own.table) return "changed"
  own.generation = generation
  return "right"
}
