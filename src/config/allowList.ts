/** `allow:` lists: groups and clients share one name space. */
import type { ConfiguredClient } from "./GatewayConfig.ts"
import { quote } from "./problem.ts"
import type { Report } from "./report.ts"
import { suggestFix } from "./suggest.ts"

/** Whom a list may name, groups first. */
export const allowableOf = (clients: ReadonlyArray<ConfiguredClient>): ReadonlySet<string> =>
  new Set([...clients.flatMap((client) => client.groups), ...clients.map((client) => client.id)])

/** Every name of the list at `path` must be known, and it must have one. */
export const checkAllow = (
  allow: ReadonlyArray<string>,
  path: ReadonlyArray<PropertyKey>,
  allowable: ReadonlySet<string>,
  report: Report,
  [cause, fix]: readonly [cause: string, fix: string]
): void => {
  for (const [i, who] of allow.entries()) {
    if (allowable.has(who)) continue
    const fix = suggestFix(who, [...allowable], "add it to clients, or to the groups of a client")
    report([...path, i], `no client or group is called ${quote(who)}`, fix)
  }
  if (allow.length === 0) report(path, cause, fix)
}

/** Whether the list names the client or one of its groups. */
export const admits = (allow: ReadonlySet<string>, client: ConfiguredClient): boolean =>
  allow.has(client.id) || client.groups.some((group) => allow.has(group))
