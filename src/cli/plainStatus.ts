import { defaultControlSocket } from "../config/GatewayConfig.ts"
import type { StatusRequest } from "./showStatus.ts"

/**
 * What `status [--json] [--socket PATH]` asks for, read without the framework of the command line: monitoring asks all
 * the time, and the framework alone takes longer to load than the rest takes to answer. `null` for everything else,
 * which the command in `status.ts` is for: other flags and spellings, a configuration, mistakes.
 */
export const plainStatus = (
  argv: ReadonlyArray<string>,
  environment: Readonly<Record<string, string | undefined>>
): StatusRequest | null => {
  const [command, ...flags] = argv
  const json = flags[0] === "--json"
  const [flag, path, ...others] = json ? flags.slice(1) : flags
  if (command !== "status" || others.length > 0) return null
  if (flag === undefined) {
    return environment["SALLYPORT_CONFIG"] === undefined ? { json, socket: defaultControlSocket } : null
  }
  return flag === "--socket" && path?.startsWith("/") === true ? { json, socket: path } : null
}
