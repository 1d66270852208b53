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
  const socket = plainSocket(as === "text" ? flags : flags.slice(1), environment)
  return command === "status" && socket !== null ? { as, socket, watch: false } : null
}

/** The control socket that the flags `[--socket PATH]` mean, if that is sure without reading a file; else `null`, as for other flags. */
export const plainSocket = (
  [flag, path, ...others]: ReadonlyArray<string>,
  environment: Readonly<Record<string, string | undefined>>
): string | null => {
  if (flag === undefined) return environment["SALLYPORT_CONFIG"] === undefined ? defaultControlSocket : null
  return flag === "--socket" && path?.startsWith("/") === true && others.length === 0 ? path : null
}
