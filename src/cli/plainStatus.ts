import { defaultControlSocket } from "../config/defaultPaths.ts"
import type { StatusRequest } from "./showStatus.ts"

/**
 * What `status [--json | --check] [--socket PATH]` asks for, read without the framework of the command line: monitoring asks
 * all the time, and the framework alone takes longer to load than the rest takes to answer. `null` for everything else,
 * which the command in `status.ts` is for: other flags and spellings, a configuration, mistakes.
 */
export const plainStatus = (
  argv: ReadonlyArray<string>,
  environment: Readonly<Record<string, string | undefined>>
): StatusRequest | null => {
  const [command, ...flags] = argv
  const as = flags[0] === "--json" ? "json" : flags[0] === "--check" ? "check" : "text"
  const [flag, path, ...others] = as === "text" ? flags : flags.slice(1)
  if (command !== "status" || others.length > 0) return null
  if (flag === undefined) {
    return environment["SALLYPORT_CONFIG"] === undefined ? { as, socket: defaultControlSocket, watch: false } : null
  }
  return flag === "--socket" && path?.startsWith("/") === true ? { as, socket: path, watch: false } : null
}
