/** What is told to a service manager, and by which variables it says how: sd_notify(3), sd_watchdog_enabled(3). */
import { printable } from "../events/printable.ts"

export interface ServiceNotice {
  readonly state?: "ready" | "reloading" | "stopping"
  /** One line for the operator. */
  readonly status?: string
  /** We do our work: asked for by `watchdogMs`. */
  readonly alive?: boolean
  /** Milliseconds that a start, a reload or a stop may take from now on. */
  readonly extendMs?: number
}

const longestStatus = 200

/** `monotonicMicros`: CLOCK_MONOTONIC, as the manager has it. */
export const encodeNotice = (notice: ServiceNotice, monotonicMicros: bigint): string => {
  const { alive, extendMs, state, status } = notice
  return [
    ...(state === "ready" ? ["READY=1"] : []),
    ...(state === "reloading" ? ["RELOADING=1", `MONOTONIC_USEC=${monotonicMicros}`] : []),
    ...(state === "stopping" ? ["STOPPING=1"] : []),
    ...(status === undefined ? [] : [`STATUS=${printable(status).slice(0, longestStatus)}`]),
    ...(alive === true ? ["WATCHDOG=1"] : []),
    ...(extendMs === undefined ? [] : [`EXTEND_TIMEOUT_USEC=${extendMs * 1_000}`])
  ].join("\n")
}

/** `sun_path` of unix(7), whose name may be abstract; `null`: neither (as `vsock:`), or too long. */
export const notifyAddress = (text: string): Uint8Array | null => {
  const bytes = new TextEncoder().encode(text)
  // A path ends with a zero.
  const fits = text.startsWith("/") ? bytes.length < 108 : text.startsWith("@") && bytes.length <= 108
  if (!fits || bytes.length < 2) return null
  if (text.startsWith("@")) bytes[0] = 0
  return bytes
}

/** Within how many milliseconds it wants to hear that we live; `null`: it does not. */
export const watchdogMs = (
  env: { readonly WATCHDOG_USEC?: string | undefined; readonly WATCHDOG_PID?: string | undefined },
  pid: number
): number | null => {
  if (env.WATCHDOG_PID !== undefined && env.WATCHDOG_PID !== String(pid)) return null
  const micros = /^[0-9]{1,15}$/.test(env.WATCHDOG_USEC ?? "") ? Number(env.WATCHDOG_USEC) : 0
  return micros > 0 ? micros / 1_000 : null
}
