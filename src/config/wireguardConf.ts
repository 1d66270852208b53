import * as Result from "effect/Result"
import { formatAddress, formatNetwork, isIpv4, mask, parseAddress } from "../packet/address.ts"
import { type HostPort, maxFileLength } from "./GatewayConfig.ts"
import { ConfigError, configError, type Problem, quote } from "./problem.ts"
import { suggest } from "./suggest.ts"
import { parseHostPort, parseKey, type Complaint, type Parsed } from "./values.ts"

/** An address of the device with the prefix of its network (canonical text, prefix counted in its own family). */
interface InterfaceAddress {
  readonly address: string
  readonly prefix: number
}

/** Where the gateway is. A link-local address means nothing without its interface. */
export interface PeerEndpoint extends HostPort {
  readonly zone: string | null
}

/** What `sallyport connect` needs from a wg-quick file with one peer. */
export interface WireguardConf {
  /** `null`: it is in `privateKeyFile`. */
  readonly privateKey: string | null
  /** Of `PostUp = wg set %i private-key FILE`, the way to keep the key out of the file. */
  readonly privateKeyFile: string | null
  readonly addresses: ReadonlyArray<InterfaceAddress>
  /** DNS servers, canonical addresses. */
  readonly dns: ReadonlyArray<string>
  /** The domains beside them, which wg-quick searches; with `~` those that are asked of these servers and not searched. */
  readonly search: ReadonlyArray<string>
  readonly mtu: number | null
  readonly listenPort: number | null
  /** Where the routes go; "off": there are none. */
  readonly table: "auto" | "off" | number
  /** SO_MARK of the tunnel's own packets. */
  readonly mark: number | null
  readonly peer: {
    readonly publicKey: string
    readonly presharedKey: string | null
    /** Canonical networks. */
    readonly allowedIps: ReadonlyArray<string>
    readonly endpoint: PeerEndpoint
    /** Seconds; 0 is off. */
    readonly keepalive: number
  }
  /** What the file asks for and does not get, a line each. */
  readonly notes: ReadonlyArray<string>
}

/**
 * Reads a wg-quick file as wg-quick does (keys in any case, lists over several lines, comments, empty values): all
 * problems at once, with their lines. `file` is for messages only.
 */
export const parseWireguardConf = (text: string, file: string): Result.Result<WireguardConf, ConfigError> => {
  const problems: Array<Problem> = []
  const report = (line: number, column: number, { cause, fix }: Complaint) =>
    problems.push({ line, column, cause, fix })
  if (text.length > maxFileLength) {
    return Result.fail(
      configError(file, [{ line: 1, column: 1, cause: "larger than 1 MiB", fix: "is this the right file?" }])
    )
  }
  const draft: Draft = {
    addresses: [],
    dns: [],
    search: [],
    allowedIps: [],
    mtu: null,
    listenPort: null,
    table: "auto",
    mark: null,
    keepalive: 0,
    notes: []
  }
  const sections = new Map<SectionName, number>()
  const peers: Array<number> = []
  let section: SectionName | undefined
  for (const [i, raw] of text.split(/\r\n|\n|\r/).entries()) {
    const content = raw.replace(/#.*/, "").trimEnd()
    const column = content.length - content.trimStart().length + 1
    const line = content.trim()
    if (line === "") continue
    const header = /^\[(.*)\]$/.exec(line)
    if (header !== null) {
      section = (["Interface", "Peer"] as const).find((name) => name.toLowerCase() === header[1]!.trim().toLowerCase())
      if (section === undefined) {
        report(i + 1, column, { cause: `unknown section ${quote(line)}`, fix: "use [Interface] and [Peer]" })
      } else if (!sections.has(section)) {
        sections.set(section, i + 1)
      }
      if (section === "Peer") peers.push(i + 1)
      continue
    }
    // The first peer alone is read: the others are one refusal, not one for each of their lines.
    if (section === "Peer" && peers.length > 1) continue
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
      if (section === "Interface" && hooks.has(key.toLowerCase())) {
        takeHook(key, value, i + 1, draft)
        continue
      }
      const near = suggest(key, Object.keys(known))
      const fix = near === undefined ? `use one of: ${Object.keys(known).join(", ")}` : `did you mean ${near}?`
      report(i + 1, column, { cause: `unknown key ${quote(key)} in [${section}]`, fix })
      continue
    }
    const complaint = known[name]!(value, draft)
    // Never the value itself: it may be a private key.
    if (complaint !== undefined) report(i + 1, column, { cause: `${name}: ${complaint.cause}`, fix: complaint.fix })
  }
  if (peers.length > 1) {
    return Result.fail(
      new ConfigError({
        message: `${file} has ${peers.length} peers (lines ${peers.join(", ")}), and connect is the client of one gateway — keep one [Peer], or use wg-quick for this file`
      })
    )
  }
  const require = (name: SectionName, key: string, present: boolean) => {
    const line = sections.get(name)
    if (present || problems.some((problem) => problem.cause.startsWith(`${key}:`))) return
    report(line ?? 1, 1, { cause: `${key} is missing in [${name}]`, fix: `add ${key} = … below [${name}]` })
  }
  const { privateKeyFile = null } = draft
  require("Interface", "PrivateKey", draft.privateKey !== undefined || privateKeyFile !== null)
  require("Interface", "Address", draft.addresses.length > 0)
  require("Peer", "PublicKey", draft.publicKey !== undefined)
  require("Peer", "AllowedIPs", draft.allowedIps.length > 0)
  require("Peer", "Endpoint", draft.endpoint !== undefined)
  const { privateKey = null, publicKey, endpoint } = draft
  const narrow = draft.mtu !== null && draft.mtu < leastMtu6
  if (narrow && draft.addresses.length > 0 && draft.addresses.every(({ address }) => address.includes(":"))) {
    report(sections.get("Interface") ?? 1, 1, {
      cause: `MTU ${draft.mtu} is too small for IPv6, and every Address is IPv6`,
      fix: `set MTU to ${leastMtu6} or more`
    })
  }
  if (problems.length > 0 || publicKey === undefined || endpoint === undefined) {
    return Result.fail(configError(file, problems))
  }
  return Result.succeed({
    privateKey,
    privateKeyFile: privateKey === null ? privateKeyFile : null,
    addresses: draft.addresses,
    dns: draft.dns,
    search: draft.search,
    mtu: draft.mtu,
    listenPort: draft.listenPort,
    table: draft.table,
    mark: draft.mark,
    peer: {
      publicKey,
      presharedKey: draft.presharedKey ?? null,
      allowedIps: draft.allowedIps,
      endpoint,
      keepalive: draft.keepalive
    },
    notes: draft.notes
  })
}

/** The smallest MTU of a device with IPv6 (RFC 8200 §5). */
export const leastMtu6 = 1280

type SectionName = "Interface" | "Peer"

interface Draft {
  privateKey?: string
  publicKey?: string
  presharedKey?: string
  endpoint?: PeerEndpoint
  privateKeyFile?: string
  addresses: ReadonlyArray<InterfaceAddress>
  dns: ReadonlyArray<string>
  search: ReadonlyArray<string>
  allowedIps: ReadonlyArray<string>
  mtu: number | null
  listenPort: number | null
  table: WireguardConf["table"]
  mark: number | null
  keepalive: number
  notes: ReadonlyArray<string>
}

/** Takes one value into the draft, or complains. */
type Setting = (value: string, draft: Draft) => Complaint | undefined

/** Commands and the like of wg-quick: `connect` runs none. */
const hooks = new Set(["preup", "postup", "predown", "postdown", "saveconfig"])

const takeHook = (key: string, value: string, line: number, draft: Draft): void => {
  const keyFile = /^wg set (?:%i|\S+) private-key (\/\S+)$/.exec(value)
  if (key.toLowerCase() === "postup" && keyFile !== null) draft.privateKeyFile = keyFile[1]!
  else if (takeResolved(value, draft)) return
  else if (value !== "" && value.toLowerCase() !== "false") {
    draft.notes = [
      ...draft.notes,
      `line ${line}: ${key} is not followed, connect runs no command of the file and leaves it as it is; use wg-quick where that is needed`
    ]
  }
}

/** What `client-config --dns split` tells systemd-resolved: `connect --dns` does the same. */
const takeResolved = (command: string, draft: Draft): boolean => {
  const [, verb, rest = ""] = /^resolvectl (dns|domain|default-route|revert) %i((?: \S+)*)$/.exec(command) ?? []
  const words = rest.split(" ").slice(1)
  switch (verb) {
    case "dns": {
      const servers = words.map(parseAddress).filter((words) => words !== undefined)
      draft.dns = [...draft.dns, ...servers.map(formatAddress)]
      return servers.length === words.length
    }
    case "domain": {
      const domains = words.map((word) => word.replace(/^'(.*)'$/, "$1"))
      draft.search = [...draft.search, ...domains.filter((domain) => /^~?[A-Za-z0-9._-]{1,253}$/.test(domain))]
      return true
    }
    default:
      return verb !== undefined
  }
}

const take = <A>(parsed: Parsed<A>, use: (value: A) => void): Complaint | undefined => {
  if (Result.isFailure(parsed)) return parsed.failure
  use(parsed.success)
  return undefined
}

const each = (value: string, use: (item: string) => Complaint | undefined): Complaint | undefined => {
  // wg-quick splits at blanks, too, and does not mind a comma too many.
  const items = value.split(/[\s,]+/).filter((item) => item !== "")
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

/** 32 bits, decimal or hexadecimal. */
const number = (value: string, use: (value: number) => void): Complaint | undefined => {
  const n = /^(0x[0-9a-f]{1,8}|[0-9]{1,10})$/i.test(value) ? Number(value) : -1
  if (n < 1 || n > 0xffff_ffff) return { cause: "not a valid number", fix: "write for example 51820 or 0xca6c" }
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
        else if (/^[A-Za-z0-9_][A-Za-z0-9._-]{0,252}$/.test(item)) draft.search = [...draft.search, item]
        else return { cause: `${quote(item)} is no address`, fix: "write the DNS server's address" }
        return undefined
      }),
    MTU: (value, draft) =>
      value === ""
        ? undefined
        : whole(value, 576, 65535, (n) => {
            draft.mtu = Math.min(n, maxMtu)
            if (n > maxMtu) draft.notes = [...draft.notes, `MTU ${n} is more than the tunnel takes: it gets ${maxMtu}`]
            if (n < leastMtu6) {
              draft.notes = [
                ...draft.notes,
                `MTU ${n} is too small for IPv6 (${leastMtu6}): the tunnel carries IPv4 only`
              ]
            }
          }),
    ListenPort: (value, draft) => whole(value, 0, 65535, (n) => (draft.listenPort = n)),
    Table: (value, draft) => {
      if (/^(auto|main|)$/i.test(value)) return undefined
      if (value.toLowerCase() === "off") {
        draft.table = "off"
        return undefined
      }
      return number(value, (n) => (draft.table = n))
    },
    FwMark: (value, draft) => (/^(off|)$/i.test(value) ? undefined : number(value, (n) => (draft.mark = n)))
  },
  Peer: {
    PublicKey: (value, draft) => take(parseKey(value), (key) => (draft.publicKey = key)),
    PresharedKey: (value, draft) => take(parseKey(value), (key) => (draft.presharedKey = key)),
    AllowedIPs: (value, draft) =>
      each(value, (item) => take(parseAllowed(item), (network) => (draft.allowedIps = [...draft.allowedIps, network]))),
    Endpoint: (value, draft) => take(parseEndpoint(value), (endpoint) => (draft.endpoint = endpoint)),
    PersistentKeepalive: (value, draft) =>
      /^(off|)$/i.test(value) ? undefined : whole(value, 0, 65535, (n) => (draft.keepalive = n))
  }
}

/** The largest inner packet that needs no IP fragments of more than a usual link's size. */
const maxMtu = 1500

/** `host:port`, or `[fe80::1%eth0]:port`; templates leave two percent signs. */
const parseEndpoint = (text: string): Parsed<PeerEndpoint> => {
  const scoped = /^\[([0-9A-Fa-f:.]+)%{1,2}([A-Za-z0-9_.@-]{1,15})\](:[0-9]{1,5})$/.exec(text)
  const plain = scoped === null ? text : `[${scoped[1]}]${scoped[3]}`
  return Result.map(parseHostPort(plain, null), (hostPort) => ({ ...hostPort, zone: scoped?.[2] ?? null }))
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
