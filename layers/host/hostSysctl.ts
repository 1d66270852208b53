import * as fs from "node:fs"
import * as Effect from "effect/Effect"
import { HostError } from "../../src/host/HostNetwork.ts"

/** Why the device can have no IPv6 address; switches IPv6 on for that device alone where it is off by default. */
export const ipv6Missing = (device: string): string | null => {
  const off = `net/ipv6/conf/${device}/disable_ipv6`
  const refused = read(off) === undefined ? "" : raise(off, "0")
  if (refused === undefined) return null
  const because =
    refused === ""
      ? "the kernel has none; start it without ipv6.disable=1"
      : `switched off for ${device}: ${advice(refused, "net.ipv6.conf.all.disable_ipv6", "0")}`
  return `IPv6 is off on this host, and clients reach what has IPv4 addresses only (${because})`
}

/**
 * IPv4 and IPv6 forwarding. A host that forwards IPv6 forgets the routes of router advertisements unless `accept_ra` is 2
 * before: `advertised` names those interfaces. Yields warnings; fails when IPv4 forwarding is off and cannot be raised.
 */
export const enableForwarding = Effect.fnUntraced(function* (
  v6: boolean,
  advertised: Effect.Effect<ReadonlyArray<string>, HostError>
) {
  const refused4 = raise("net/ipv4/ip_forward", "1")
  if (refused4 !== undefined) {
    return yield* new HostError({
      message: `cannot switch IPv4 forwarding on: ${advice(refused4, "net.ipv4.ip_forward", "1")}`
    })
  }
  if (!v6 || read("net/ipv6/conf/all/forwarding") === "1") return []
  for (const device of yield* advertised) {
    const key = `net/ipv6/conf/${device}/accept_ra`
    // 0: routes are kept by somebody else (networkd, NetworkManager), which forwarding does not disturb.
    if (read(key) !== "1") continue
    const refused = raise(key, "2")
    if (refused !== undefined) {
      return [
        `IPv6 forwarding stays off, or ${device} would lose its routes: ${advice(refused, `net.ipv6.conf.${device}.accept_ra`, "2")}`
      ]
    }
  }
  const refused6 = raise("net/ipv6/conf/all/forwarding", "1")
  return refused6 === undefined
    ? []
    : [`IPv6 resources cannot be reached: ${advice(refused6, "net.ipv6.conf.all.forwarding", "1")}`]
})

/** The errno that stood in the way, or `undefined` when the value is (now) right. */
const raise = (key: string, value: string): string | undefined => (read(key) === value ? undefined : write(key, value))

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
