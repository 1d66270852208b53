/** What a service manager is told while a gateway runs, and when. */
import type { ReadinessPart } from "../monitor/readiness.ts"
import type { ServiceNotice } from "./serviceNotice.ts"

export interface ServiceStanding {
  readonly parts: ReadonlyArray<ReadinessPart>
  /** Those without which it is not ready. */
  readonly needs: ReadonlyArray<ReadinessPart["part"]>
  /** Clients. */
  readonly connected: number
}

/** What was told last. */
export interface Told {
  readonly ready: boolean
  readonly status: string | null
  /** Monotonic milliseconds. */
  readonly aliveAt: number
}

export const nothingTold: Told = { ready: false, status: null, aliveAt: -Infinity }

/** A start goes on for as long as this is told. */
const extendMs = 30_000

/**
 * The next notice, if any. Ready is who has what it needs: what else may be wrong no restart mends, and it is in the status. It
 * is alive while the packet worker answers: half of what the watchdog allows goes by in between at most.
 */
export const nextNotice = (
  { connected, needs, parts }: ServiceStanding,
  told: Told,
  watchdogMs: number | null,
  now: number
): { readonly notice: ServiceNotice; readonly told: Told } | null => {
  const why = (of: ReadonlyArray<ReadinessPart["part"]>): string | null =>
    parts.find(({ part, why }) => of.includes(part) && why !== null)?.why ?? null
  const ready = told.ready || why(needs) === null
  const trouble = parts.find((part) => part.why !== null)?.why ?? null
  const count = `${connected} ${connected === 1 ? "client" : "clients"} connected`
  const status = ready ? (trouble === null ? count : `${trouble}; ${count}`) : `starting: ${trouble ?? "nearly there"}`
  const alive = watchdogMs !== null && why(["worker"]) === null && now - told.aliveAt >= watchdogMs / 3
  const notice: ServiceNotice = {
    ...(ready && !told.ready ? { state: "ready" } : {}),
    ...(status === told.status ? {} : { status }),
    ...(alive ? { alive } : {}),
    ...(ready ? {} : { extendMs })
  }
  if (Object.keys(notice).length === 0) return null
  return { notice, told: { ready, status, aliveAt: alive ? now : told.aliveAt } }
}
