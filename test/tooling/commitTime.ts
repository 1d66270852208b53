import { execFileSync } from "node:child_process"

/** When the commit that is checked out was made, in seconds since 1970: the date of all that is made of it. */
export const commitTime = (root: string): number =>
  Number(execFileSync("git", ["log", "-1", "--format=%ct"], { cwd: root, encoding: "utf8", timeout: 10_000 }))
