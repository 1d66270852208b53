import * as fs from "node:fs"
import * as Effect from "effect/Effect"
import type { HostError } from "../../src/host/HostNetwork.ts"
import { globalForwarding, sysctlName } from "../../src/host/hostPlan.ts"

/** Why the device can have no IPv6 address; switches IPv6 on for that device alone where it is off by default. */
export const ipv6Missing = (device: string): string | null => {
  const off = `net/ipv6/conf/${device}/disable_ipv6`
  const value = read(off)
  const refused = value === undefined ? "" : value === "0" ? undefined : write(off, "0")
  if (refused === undefined) return null
  const because =
    refused === ""
      ? "the kernel has none; start it without ipv6.disable=1"
      : `switched off for ${device}: ${advice(refused, "net.ipv6.conf.all.disable_ipv6", "0")}`
  return `IPv6 is off on this host, and clients reach what has IPv4 addresses only (${because})`
}

/**
 * Switches forwarding on at this path below `/proc/sys`. A host that forwards IPv6 forgets the routes of router
 * advertisements unless `accept_ra` is 2 before: `advertised` names those interfaces. Yields why it stays off.
 */
export const raiseForwarding = Effect.fnUntraced(function* (
  path: string,
  advertised: Effect.Effect<ReadonlyArray<string>, HostError>
): Effect.fn.Return<string | undefined, HostError> {
  if (read(path) === "1") return undefined
  if (path !== globalForwarding[6]) {
    const refused = write(path, "1")
    const what = path === globalForwarding[4] ? "IPv4 forwarding" : `forwarding of one device`
    return refused === undefined ? undefined : `cannot switch ${what} on: ${advice(refused, sysctlName(path), "1")}`
  }
  for (const device of yield* advertised) {
    const key = `net/ipv6/conf/${device}/accept_ra`
    // 0: routes are kept by somebody else (networkd, NetworkManager), which forwarding does not disturb.
    if (read(key) !== "1") continue
    const refused = write(key, "2")
    if (refused !== undefined) {
      return `IPv6 forwarding stays off, or ${device} would lose its routes: ${advice(refused, sysctlName(key), "2")}`
    }
  }
  const refused = write(path, "1")
  return refused === undefined
    ? undefined
    : `IPv6 resources cannot be reached: ${advice(refused, sysctlName(path), "1")}`
})

const advice = (errno: string, name: string, value: string): string =>
  errno === "EROFS"
    ? `/proc/sys is read-only; set ${name}=${value} on the host (container: "--sysctl ${name}=${value}")`
    : errno === "EACCES" || errno === "EPERM"
      ? `not permitted; run "sysctl -w ${name}=${value}" as root`
      : `writing ${name} failed with ${errno}`

const read = (key: string): string | undefined => {
  try {
    return fs.readFileSync(`/proc/sys/${key}`, "utf8").trim()
  } catch {
    return undefined
  }
}

const write = (key: string, value: string): string | undefined => {
  try {
    fs.writeFileSync(`/proc/sys/${key}`, value)
    return undefined
  } catch (cause) {
    return (cause as NodeJS.ErrnoException).code ?? "an unknown error"
  }
}
