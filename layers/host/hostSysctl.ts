import * as fs from "node:fs"
import { acceptAdvertisements, globalForwarding, rightValue, sysctlName } from "../../src/host/hostPlan.ts"
import { readText } from "./readText.ts"

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
 * Raises what `compare` finds to be low: forwarding at this path below `/proc/sys`, or `accept_ra`. A host that forwards IPv6
 * forgets the routes of router advertisements unless `accept_ra` is 2 before: `advertised` names those interfaces. Yields why
 * it stays as it is.
 */
export const raiseSysctl = (path: string, advertised: Iterable<string>): string | undefined => {
  if (path === globalForwarding[6]) {
    for (const device of advertised) {
      const accept = acceptAdvertisements(device)
      const refused = isRight(accept) === false ? raiseSysctl(accept, []) : undefined
      if (refused !== undefined) return refused
    }
  }
  if (isRight(path) === true) return undefined
  const right = rightValue(path)
  const refused = write(path, right)
  return refused === undefined ? undefined : `${withoutIt(path)}: ${advice(refused, sysctlName(path), right)}`
}

/** Why it is not as the gateway needs it, and could not be made so; `null`: it is, or can be. Changes nothing. */
export const sysctlTrouble = (path: string): string | null => {
  if (isRight(path) !== false) return null
  try {
    fs.accessSync(`/proc/sys/${path}`, fs.constants.W_OK)
    return null
  } catch (cause) {
    return `${withoutIt(path)}: ${advice(errnoOf(cause), sysctlName(path), rightValue(path))}`
  }
}

/** Whether it is as the gateway needs it; `null`: there is no such setting. */
export const isRight = (path: string): boolean | null => {
  const value = read(path)
  // Advertisements at 0: their routes are kept by somebody else (networkd, NetworkManager), which forwarding does not disturb.
  return value === undefined ? null : rightValue(path) === "2" ? value !== "1" : value === "1"
}

const withoutIt = (path: string): string => {
  if (path === globalForwarding[4]) return "cannot switch IPv4 forwarding on"
  if (path === globalForwarding[6]) return "IPv6 resources cannot be reached"
  return rightValue(path) === "2"
    ? "this host loses the IPv6 routes of router advertisements when it forwards"
    : "cannot switch forwarding of one device on"
}

const advice = (errno: string, name: string, value: string): string =>
  errno === "EROFS"
    ? `/proc/sys is read-only; set ${name}=${value} on the host (container: "--sysctl ${name}=${value}")`
    : errno === "EACCES" || errno === "EPERM"
      ? `not permitted; run "sysctl -w ${name}=${value}" as root`
      : `writing ${name} failed with ${errno}`

const read = (key: string): string | undefined => readText(`/proc/sys/${key}`)

const write = (key: string, value: string): string | undefined => {
  try {
    fs.writeFileSync(`/proc/sys/${key}`, value)
    return undefined
  } catch (cause) {
    return errnoOf(cause)
  }
}

const errnoOf = (cause: unknown): string => (cause as NodeJS.ErrnoException).code ?? "an unknown error"
