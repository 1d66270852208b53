import * as Result from "effect/Result"
import { formatAddress, formatNetwork, isIpv4, mask, parseAddress } from "../packet/address.ts"
import type { HostPort } from "./GatewayConfig.ts"
import { type ConfigError, configError, type Problem, quote } from "./problem.ts"
import { suggest } from "./suggest.ts"
import { parseHostPort, parseKey, type Complaint, type Parsed } from "./values.ts"
import { maxFileLength } from "./yamlSource.ts"

/** An address of the device with the prefix of its network (canonical text, prefix counted in its own family). */
interface InterfaceAddress {
  readonly address: string
  readonly prefix: number
}

/** What `sallyport connect` needs from a wg-quick file with one peer. */
export interface WireguardConf {
  readonly privateKey: string
  readonly addresses: ReadonlyArray<InterfaceAddress>
  /** DNS servers, canonical addresses; search domains are left out. */
  readonly dns: ReadonlyArray<string>
  readonly mtu: number | null
  readonly listenPort: number | null
  readonly peer: {
    readonly publicKey: string
    readonly presharedKey: string | null
    /** Canonical networks. */
    readonly allowedIps: ReadonlyArray<string>
    readonly endpoint: HostPort
    /** Seconds; 0 is off. */
    readonly keepalive: number
  }
}

/** Reads a wg-quick file: all problems at once, with their lines. `file` is for messages only. */
export const parseWireguardConf = (text: string, file: string): Result.Result<WireguardConf, ConfigError> => {
  const problems: Array<Problem> = []
  const report = (line: number, column: number, { cause, fix }: Complaint) =>
    problems.push({ line, column, cause, fix })
  if (text.length > maxFileLength) {
    return Result.fail(
      configError(file, [{ line: 1, column: 1, cause: "larger than 1 MiB", fix: "is this the right file?" }])
    )
  }
  const draft: Draft = { addresses: [], dns: [], allowedIps: [], mtu: null, listenPort: null, keepalive: 0 }
  const sections = new Map<SectionName, number>()
  let section: SectionName | undefined
  for (const [i, raw] of text.split(/\r?\n/).entries()) {
    const content = raw.replace(/#.*/, "").trimEnd()
    const column = content.length - content.trimStart().length + 1
    const line = content.trim()
    if (line === "") continue
    const header = /^\[(.*)\]$/.exec(line)
    if (header !== null) {
      section = (["Interface", "Peer"] as const).find((name) => name.toLowerCase() === header[1]!.trim().toLowerCase())
      if (section === undefined) {
        report(i + 1, column, { cause: `unknown section ${quote(line)}`, fix: "use [Interface] and [Peer]" })
      } else if (sections.has(section)) {
        report(i + 1, column, { cause: `a second [${section}]`, fix: "keep one [Interface] and one [Peer]" })
      } else {
        sections.set(section, i + 1)
      }
      continue
    }
    const equals = line.indexOf("=")
    if (equals < 1 || section === undefined) {
      const fix = section === undefined ? "start the file with [Interface]" : "write Key = Value"
      report(i + 1, column, { cause: "a line out of place", fix })
      continue
    }
    const key = line.slice(0, equals).trim()
    const value = line.slice(equals + 1).trim()
    const known = settings[section]
    const name = Object.keys(known).find((candidate) => candidate.toLowerCase() === key.toLowerCase())
    if (name === undefined) {
      if (ignored.has(key.toLowerCase())) continue
      const near = suggest(key, Object.keys(known))
      const fix = near === undefined ? `use one of: ${Object.keys(known).join(", ")}` : `did you mean ${near}?`
      report(i + 1, column, { cause: `unknown key ${quote(key)} in [${section}]`, fix })
      continue
    }
    const complaint = known[name]!(value, draft)
    // Never the value itself: it may be a private key.
    if (complaint !== undefined) report(i + 1, column, { cause: `${name}: ${complaint.cause}`, fix: complaint.fix })
  }
  const require = (name: SectionName, key: string, present: boolean) => {
    const line = sections.get(name)
    if (present || problems.some((problem) => problem.cause.startsWith(`${key}:`))) return
    report(line ?? 1, 1, { cause: `${key} is missing in [${name}]`, fix: `add ${key} = … below [${name}]` })
  }
  require("Interface", "PrivateKey", draft.privateKey !== undefined)
  require("Interface", "Address", draft.addresses.length > 0)
  require("Peer", "PublicKey", draft.publicKey !== undefined)
  require("Peer", "AllowedIPs", draft.allowedIps.length > 0)
  require("Peer", "Endpoint", draft.endpoint !== undefined)
  const { privateKey, publicKey, endpoint } = draft
  if (problems.length > 0 || privateKey === undefined || publicKey === undefined || endpoint === undefined) {
    return Result.fail(configError(file, problems))
  }
  return Result.succeed({
    privateKey,
    addresses: draft.addresses,
    dns: draft.dns,
    mtu: draft.mtu,
    listenPort: draft.listenPort,
    peer: {
      publicKey,
      presharedKey: draft.presharedKey ?? null,
      allowedIps: draft.allowedIps,
      endpoint,
      keepalive: draft.keepalive
    }
  })
}

type SectionName = "Interface" | "Peer"

interface Draft {
  privateKey?: string
  publicKey?: string
  presharedKey?: string
  endpoint?: HostPort
  addresses: ReadonlyArray<InterfaceAddress>
  dns: ReadonlyArray<string>
  allowedIps: ReadonlyArray<string>
  mtu: number | null
  listenPort: number | null
  keepalive: number
}

/** Takes one value into the draft, or complains. */
type Setting = (value: string, draft: Draft) => Complaint | undefined

/** Keys of wg-quick that say how it sets the host up; `connect` does that its own way. */
const ignored = new Set(["table", "preup", "postup", "predown", "postdown", "saveconfig", "fwmark"])

const take = <A>(parsed: Parsed<A>, use: (value: A) => void): Complaint | undefined => {
  if (Result.isFailure(parsed)) return parsed.failure
  use(parsed.success)
  return undefined
}

const each = (value: string, use: (item: string) => Complaint | undefined): Complaint | undefined => {
  const items = value.split(",").map((item) => item.trim())
  if (items.length > 1000) return { cause: "more than 1000 values", fix: "use wider networks" }
  for (const item of items) {
    const complaint = use(item)
    if (complaint !== undefined) return complaint
  }
  return undefined
}

const whole = (value: string, from: number, to: number, use: (value: number) => void): Complaint | undefined => {
  const n = /^[0-9]{1,5}$/.test(value) ? Number(value) : -1
  if (n < from || n > to) return { cause: "not a valid number", fix: `use a whole number from ${from} to ${to}` }
  use(n)
  return undefined
}

const settings: Readonly<Record<SectionName, Readonly<Record<string, Setting>>>> = {
  Interface: {
    PrivateKey: (value, draft) => take(parseKey(value), (key) => (draft.privateKey = key)),
    Address: (value, draft) =>
      each(value, (item) =>
        take(parseInterfaceAddress(item), (address) => (draft.addresses = [...draft.addresses, address]))
      ),
    DNS: (value, draft) =>
      each(value, (item) => {
        const address = parseAddress(item)
        if (address !== undefined) draft.dns = [...draft.dns, formatAddress(address)]
        else if (!/^[A-Za-z0-9._-]{1,253}$/.test(item)) {
          return { cause: `${quote(item)} is no address`, fix: "write the DNS server's address" }
        }
        return undefined
      }),
    MTU: (value, draft) => whole(value, 1280, 1420, (n) => (draft.mtu = n)),
    ListenPort: (value, draft) => whole(value, 0, 65535, (n) => (draft.listenPort = n))
  },
  Peer: {
    PublicKey: (value, draft) => take(parseKey(value), (key) => (draft.publicKey = key)),
    PresharedKey: (value, draft) => take(parseKey(value), (key) => (draft.presharedKey = key)),
    AllowedIPs: (value, draft) =>
      each(value, (item) => take(parseAllowed(item), (network) => (draft.allowedIps = [...draft.allowedIps, network]))),
    Endpoint: (value, draft) => take(parseHostPort(value, null), (endpoint) => (draft.endpoint = endpoint)),
    PersistentKeepalive: (value, draft) =>
      value.toLowerCase() === "off" ? undefined : whole(value, 0, 65535, (n) => (draft.keepalive = n))
  }
}

const parseInterfaceAddress = (text: string): Parsed<InterfaceAddress> => {
  const [host = "", length, ...rest] = text.split("/")
  const address = parseAddress(host)
  const wrong = { cause: `${quote(text)} is not an address`, fix: "write for example 100.64.0.10/32" }
  if (address === undefined || rest.length > 0) return Result.fail(wrong)
  const bits = isIpv4(address) ? 32 : 128
  if (length === undefined) return Result.succeed({ address: formatAddress(address), prefix: bits })
  const prefix = /^[0-9]{1,3}$/.test(length) ? Number(length) : -1
  return prefix < 0 || prefix > bits ? Result.fail(wrong) : Result.succeed({ address: formatAddress(address), prefix })
}

/** Like wg, takes an address inside the network for the network. */
const parseAllowed = (text: string): Parsed<string> =>
  Result.map(parseInterfaceAddress(text), ({ address, prefix }) => {
    const words = parseAddress(address)!
    const bits = isIpv4(words) ? prefix + 96 : prefix
    return formatNetwork({ address: mask(words, bits), prefix: bits })
  })
