import { existsSync, readFileSync } from "node:fs"

/** Whether a process runs. A killed one that its new parent has not collected yet runs no more. */
export const isRunning = (pid: number): boolean => {
  if (!existsSync(`/proc/${pid}`)) return false
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"))
  } catch {
    return false
  }
}
