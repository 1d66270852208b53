import { formatAddress, isIpv4, isLinkLocal, parseAddress } from "../packet/address.ts"

/** More servers than this are left out (glibc stops at 3). */
const maxServers = 8

/** What a resolv.conf(5) says of how to ask. */
export interface ResolvConf {
  /** In order, without duplicates, port 53 always; never empty. A link-local address keeps its zone (`fe80::1%eth0`). */
  readonly servers: ReadonlyArray<string>
  /** No `nameserver` line: glibc asks the host itself then, and so do we. */
  readonly isDefault: boolean
  /** `use-vc`: TCP only. */
  readonly overTcp: boolean
  /** `rotate`: each question begins with another server. */
  readonly rotates: boolean
  /** `timeout`: how long a server is waited for before the next one is asked; `null` without it. */
  readonly timeoutMs: number | null
  /** `attempts`: how often each server is asked; `null` without it. */
  readonly attempts: number | null
  /** `no-aaaa`: nobody is asked for IPv6 addresses. */
  readonly noAaaa: boolean
}

/** What glibc does without the file. */
export const defaultResolvConf: ResolvConf = {
  servers: ["127.0.0.1"],
  isDefault: true,
  overTcp: false,
  rotates: false,
  timeoutMs: null,
  attempts: null,
  noAaaa: false
}

/** glibc's bounds. */
const maxTimeoutSeconds = 30
const maxAttempts = 5

/**
 * Reads a resolv.conf(5). What is about names (`search`, `domain`, `ndots`) does not matter here: names are looked up as
 * absolute names. Of the options the others are either what we do anyway (`edns0`, `trust-ad`, and both `single-request`
 * ones: each question has its own port) or are about sorting.
 */
export const parseResolvConf = (text: string): ResolvConf => {
  const servers = new Set<string>()
  let { attempts, noAaaa, overTcp, rotates, timeoutMs } = defaultResolvConf
  for (const line of text.split("\n")) {
    const [keyword, ...values] = line.trim().split(/\s+/)
    if (keyword === "nameserver") {
      const address = parseServerAddress(values[0]?.split(/[;#]/)[0] ?? "")
      if (address !== undefined && servers.size < maxServers) servers.add(address)
    }
    if (keyword !== "options") continue
    for (const option of values) {
      const number = /^(timeout|attempts):([0-9]{1,9})$/.exec(option)
      if (number?.[1] === "timeout") timeoutMs = 1000 * between(1, Number(number[2]), maxTimeoutSeconds)
      if (number?.[1] === "attempts") attempts = between(1, Number(number[2]), maxAttempts)
      if (option === "use-vc") overTcp = true
      if (option === "rotate") rotates = true
      if (option === "no-aaaa") noAaaa = true
    }
  }
  const isDefault = servers.size === 0
  return {
    servers: isDefault ? defaultResolvConf.servers : [...servers],
    isDefault,
    overTcp,
    rotates,
    timeoutMs,
    attempts,
    noAaaa
  }
}

const between = (least: number, value: number, most: number): number => Math.min(Math.max(least, value), most)

/** Canonical text of an address, with its zone when it is link-local; `undefined` when it is none. */
const parseServerAddress = (text: string): string | undefined => {
  const percent = text.indexOf("%")
  const address = parseAddress(percent < 0 ? text : text.slice(0, percent))
  if (address === undefined) return undefined
  if (percent < 0) return formatAddress(address)
  const linkLocal = !isIpv4(address) && isLinkLocal(address)
  return linkLocal && /^%[\w.-]{1,15}$/.test(text.slice(percent))
    ? formatAddress(address) + text.slice(percent)
    : undefined
}
