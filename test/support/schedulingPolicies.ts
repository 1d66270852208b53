/** How the kernel schedules threads, by /proc (proc_pid_stat(5)). */
import { readdirSync, readFileSync } from "node:fs"

export type Policy = "ordinary" | "round robin 1" | `${number}, priority ${number}`

/** Of the thread whose `stat` line this is: fields 40 (priority) and 41 (policy). */
export const policyIn = (stat: string): Policy => {
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
  const priority = Number(fields[37])
  const policy = Number(fields[38])
  if (policy === 0) return "ordinary"
  return policy === 2 && priority === 1 ? "round robin 1" : `${policy}, priority ${priority}`
}

/** Of all threads of a process. */
export const policiesOf = (pid: number): ReadonlyArray<Policy> =>
  readdirSync(`/proc/${pid}/task`).flatMap((thread) => {
    try {
      return [policyIn(readFileSync(`/proc/${pid}/task/${thread}/stat`, "utf8"))]
    } catch {
      // It has ended since.
      return []
    }
  })
