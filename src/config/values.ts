/**
 * The single values of `sallyport.yaml`: text in, value or complaint out.
 */
import * as Base64 from "effect/encoding/Base64"
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as DomainPattern from "../model/DomainPattern.ts"
import type { PortFilter } from "../model/PortFilter.ts"
import type { ResolverServer, ServerIdentity } from "../model/ResolverSet.ts"
import type { Target } from "../model/Target.ts"
import {
  formatAddress,
  formatNetwork,
  isBroadcast,
  isIpv4,
  isLinkLocal,
  isLoopback,
  isMulticast,
  isUnspecified,
  mask,
  parseAddress,
  parseNetwork
} from "../packet/address.ts"
import type { HostPort } from "./GatewayConfig.ts"
import { quote } from "./problem.ts"

/** Why a text is not the value it should be. */
export interface Complaint {
  readonly cause: string
  readonly fix: string
}

export type Parsed<A> = Result.Result<A, Complaint>

const complain = (cause: string, fix: string): Result.Result<never, Complaint> => Result.fail({ cause, fix })

/** Names of clients, groups, resources and resolver sets. */
export const parseIdentifier = (text: string): Parsed<string> =>
  /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(text)
    ? Result.succeed(text)
    : complain(`${quote(text)} is not a name`, "use 1 to 63 letters, digits, dots, dashes or underscores")

/** Standard base64 of exactly 32 bytes; gives the text back. */
export const parseKey = (text: string): Parsed<string> => {
  const fix = "paste the 44 characters that wg pubkey, wg genpsk or sallyport pubkey prints, ending in ="
  const bytes = keyBytes(text)
  return bytes === undefined ? complain("not a WireGuard key (base64 of 32 bytes)", fix) : Result.succeed(text)
}

/** The 32 bytes of a canonical base64 key or hash, `undefined` for anything else. */
export const keyBytes = (text: string): Uint8Array | undefined => {
  if (!/^[A-Za-z0-9+/]{43}=$/.test(text)) return undefined
  const bytes = Base64.decode(text)
  return Result.isSuccess(bytes) && bytes.success.length === 32 && Base64.encode(bytes.success) === text
    ? bytes.success
    : undefined
}

/** `host`, `host:port`, `192.0.2.1:51820`, `[2001:db8::1]:51820`. */
export const parseHostPort = (text: string, defaultPort: number | null): Parsed<HostPort> => {
  const wrong = complain(
    `${quote(text)} is not host:port`,
    "write for example vpn.example.com:51820 or [2001:db8::1]:51820"
  )
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]]+))(?::([0-9]{1,5}))?$/.exec(text)
  if (match === null) return wrong
  const port = match[3] === undefined ? defaultPort : Number(match[3])
  if (port === null || port < 1 || port > 65535) return wrong
  const host = match[1] ?? match[2]!
  const address = parseAddress(host)
  if (address !== undefined) return Result.succeed({ host: formatAddress(address), port })
  return match[1] === undefined && isHostName(host) ? Result.succeed({ host: host.toLowerCase(), port }) : wrong
}

/** Where the monitor listens: an address, or a name of this host, and a TCP port; `off`: nowhere. */
export const parseListenHttp = (text: string): Parsed<HostPort | null> => {
  if (text === "off") return Result.succeed(null)
  const at = parseHostPort(text, null)
  return Result.isSuccess(at)
    ? at
    : complain(`${quote(text)} is not an address with a port`, "write for example 127.0.0.1:9820, or off")
}

/**
 * `udp://10.0.0.53`, `tcp://[fd00::53]:5353`, `tls://10.0.0.53#dns.corp`, `https://10.0.0.53/dns-query#dns.corp`: always
 * by its address, and for TLS behind `#` what its certificate must prove: a name, or `sha256/` and the pin of its key.
 * Without `#` it must prove the address.
 */
export const parseResolverServer = (text: string): Parsed<ResolverServer> => {
  const fix = "write for example udp://10.0.0.53, tls://10.0.0.53#dns.corp or https://10.0.0.53/dns-query#dns.corp"
  const parts = /^([a-z]+):\/\/([^/#]*)(\/[^#]*)?(?:#(.*))?$/.exec(text)
  if (parts === null) return complain(`${quote(text)} is not a DNS server`, fix)
  const [, transport, at, path, proof] = parts
  const port = transport === undefined ? undefined : resolverPorts[transport]
  if (port === undefined) return complain(`DNS over ${transport} is not supported`, fix)
  const server = parseHostPort(at!, port)
  if (Result.isFailure(server) || parseAddress(server.success.host) === undefined) {
    return complain(`${quote(text)} does not name a DNS server by its address`, fix)
  }
  const endpoint = { address: server.success.host, port: server.success.port }
  if (path !== undefined && transport !== "https") return complain(`${quote(text)}: only https:// has a path`, fix)
  if (transport === "udp" || transport === "tcp") {
    if (proof !== undefined) return complain(`${quote(text)}: ${transport} proves nothing`, `leave out #, or ${fix}`)
    return Result.succeed({ ...endpoint, transport })
  }
  const identity = parseIdentity(proof ?? endpoint.address)
  if (identity === null) {
    return complain(`${quote(text)}: behind # is neither a name nor a pin`, `${fix}, or #sha256/ and 44 characters`)
  }
  if (transport === "tls") return Result.succeed({ ...endpoint, transport, identity })
  if (path !== undefined && !/^\/[\w./~%-]{0,255}$/.test(path)) return complain(`${quote(text)}: not a path`, fix)
  return Result.succeed({ ...endpoint, transport: "https", identity, path: path ?? "/dns-query" })
}

const resolverPorts: Readonly<Record<string, number>> = { udp: 53, tcp: 53, tls: 853, https: 443 }

const parseIdentity = (text: string): ServerIdentity | null => {
  if (text.startsWith("sha256/")) {
    const sha256 = text.slice(7)
    return keyBytes(sha256) === undefined ? null : { _tag: "Pin", sha256 }
  }
  const address = parseAddress(text)
  if (address !== undefined) return { _tag: "Name", name: formatAddress(address) }
  return isHostName(text) ? { _tag: "Name", name: text.toLowerCase() } : null
}

/** `tcp/443`, `udp/8000-8100`, `tcp`, `udp`, `icmp`. */
export const parsePortFilter = (text: string): Parsed<PortFilter> => {
  const wrong = complain(`${quote(text)} is not a port filter`, "write for example tcp/443, udp/8000-8100, tcp or icmp")
  if (text === "icmp") return Result.succeed({ protocol: "icmp" })
  const match = /^(tcp|udp)(?:\/([0-9]{1,5})(?:-([0-9]{1,5}))?)?$/.exec(text)
  if (match === null) return wrong
  const protocol = match[1] === "tcp" ? "tcp" : "udp"
  if (match[2] === undefined) return Result.succeed({ protocol, from: 0, to: 65535 })
  const from = Number(match[2])
  const to = match[3] === undefined ? from : Number(match[3])
  if (from < 1 || to > 65535) return complain(`${quote(text)}: ports are 1 to 65535`, "write for example tcp/443")
  if (from > to) return complain(`${quote(text)} runs backwards`, `write ${protocol}/${to}-${from}`)
  return Result.succeed({ protocol, from, to })
}

/** See `formatTarget`; a port without protocol is one of TCP. */
export const parseTarget = (text: string): Parsed<Target> => {
  const fix = "write for example gitlab.corp.internal:443, gitlab.corp.internal/icmp, 10.20.0.5:53/udp or [fd00::1]:22"
  const [, at = "", written] = /^(.*?)(?:\/(tcp|udp|icmp))?$/is.exec(text.trim())!
  const given = written === undefined ? null : protocols[written.toLowerCase()]!
  const bare = parseAddress(at)
  const parts = bare === undefined ? /^(?:\[([^\]]*)\]|([^:[\]]*))(?::([0-9]{1,5}))?$/.exec(at) : [at, undefined, at]
  if (parts === null) return complain(`${quote(text)} is neither a name nor an address`, fix)
  const [, bracketed, plain, digits] = parts
  const port = digits === undefined ? null : Number(digits)
  if (port !== null && (port < 1 || port > 65535)) return complain(`${quote(text)}: ports are 1 to 65535`, fix)
  if (port !== null && given === "icmp") return complain(`${quote(text)}: icmp has no ports`, fix)
  const protocol = given ?? (port === null ? null : "tcp")
  const host = bracketed ?? plain!
  const address = bare ?? parseAddress(host)
  if (address !== undefined) return Result.succeed({ host: formatAddress(address), address, protocol, port })
  const domain =
    bracketed === undefined && !/[*?/]|^[0-9.]+$/.test(host) ? DomainPattern.canonicalDomain(host) : undefined
  return domain === undefined
    ? complain(`${quote(text)} is neither a name nor an address`, fix)
    : Result.succeed({ host: domain, address: undefined, protocol, port })
}

const protocols: Readonly<Record<string, "tcp" | "udp" | "icmp">> = { tcp: "tcp", udp: "udp", icmp: "icmp" }

/** A network in canonical text. */
export const parseNetworkText = (text: string): Parsed<string> => {
  const network = parseNetwork(text)
  if (network !== undefined) return Result.succeed(formatNetwork(network))
  const [host, length] = text.split("/")
  const address = parseAddress(host ?? "")
  if (address !== undefined && length !== undefined && /^[0-9]{1,3}$/.test(length)) {
    const v4 = isIpv4(address)
    const bits = Number(length)
    if (bits <= (v4 ? 32 : 128)) {
      const meant = formatNetwork({ address: mask(address, v4 ? bits + 96 : bits), prefix: v4 ? bits + 96 : bits })
      return complain(`${quote(text)} has address bits behind its prefix`, `did you mean ${meant}?`)
    }
  }
  return complain(`${quote(text)} is not a network`, "write for example 10.20.0.0/16 or fd12:3456::/48")
}

/** An address in canonical text. */
export const parseAddressText = (text: string): Parsed<string> => {
  const address = parseAddress(text)
  return address === undefined
    ? complain(`${quote(text)} is not an IP address`, "write for example 100.64.0.10 or fd00:2021:1111::a")
    : Result.succeed(formatAddress(address))
}

/** One by which others reach this host. */
export const parseAdvertised = (text: string): Parsed<string> => {
  const address = parseAddress(text)
  return address === undefined ||
    [isBroadcast, isLinkLocal, isLoopback, isMulticast, isUnspecified].some((is) => is(address))
    ? complain(`${quote(text)} is no address by which other hosts reach this one`, "write for example 10.20.0.1")
    : Result.succeed(formatAddress(address))
}

const parseFamily =
  (v4: boolean, example: string) =>
  (text: string): Parsed<string> => {
    const address = parseAddress(text)
    return address === undefined || isIpv4(address) !== v4
      ? complain(`${quote(text)} is not an ${v4 ? "IPv4" : "IPv6"} address`, `write for example ${example}`)
      : Result.succeed(formatAddress(address))
  }

/** An IPv4 address in canonical text. */
export const parseIpv4Text = parseFamily(true, "10.20.0.5")

/** An IPv6 address in canonical text. */
export const parseIpv6Text = parseFamily(false, "fd12:3456::5")

/** A DNS name without wildcards, lower case, no trailing dot. */
export const parseDomain = (text: string): Parsed<string> => {
  const invalid = DomainPattern.validate(text)
  const fix = "write for example corp.internal; other scripts in xn-- form"
  if (invalid !== null) return complain(`${quote(text)}: ${invalid}`, fix)
  if (!DomainPattern.isExact(text)) return complain(`${quote(text)} is a pattern, not a name`, fix)
  const name = text.toLowerCase().replace(/\.$/, "")
  return parseAddress(name) === undefined
    ? Result.succeed(name)
    : complain(`${quote(text)} is an address, not a name`, fix)
}

/** Text of a TXT record: at most 2,000 bytes as UTF-8. */
export const parseTxt = (text: string): Parsed<string> =>
  new TextEncoder().encode(text).length <= 2_000
    ? Result.succeed(text)
    : complain("the text is longer than 2000 bytes", "use a shorter one")

/** A DNS name or a pattern (`DomainPattern`), lower case, no trailing dot; one that covers every name is refused. */
export const parsePattern = (text: string): Parsed<string> => {
  const example = "write for example gitlab.corp.internal, *.svc.corp.internal or **.corp.internal"
  const invalid = DomainPattern.validate(text)
  if (invalid !== null) return complain(`${quote(text)}: ${invalid}`, `${example}; other scripts in xn-- form`)
  const pattern = text.toLowerCase().replace(/\.$/, "")
  if (parseAddress(pattern) !== undefined) {
    return complain(`${quote(text)} is an address, not a name`, `write cidr: ${pattern} instead of name:`)
  }
  if (/^[*?.]+$/.test(pattern)) {
    return complain(
      `${quote(text)} matches every name`,
      "name a domain, for example *.corp.internal, or use internet: true"
    )
  }
  return Result.succeed(pattern)
}

/**
 * A date (its first moment in UTC) or an RFC 3339 date-time, in whole epoch milliseconds; seconds and offset may be left
 * out (UTC then). A leap second is the one after it.
 */
export const parseExpiry = (text: string): Parsed<number> => {
  const fix = "write for example 2027-01-31 or 2027-01-31T18:00:00Z"
  const match = expiryFormat.exec(text)
  if (match === null) return complain(`${quote(text)} is not a date`, fix)
  const [, date, hour = "0", minute = "0", second = "0", fraction = "", sign, offsetHour = "0", offsetMinute = "0"] =
    match
  const midnight = DateTime.make(`${date}T00:00:00Z`)
  if (Option.isNone(midnight) || DateTime.toPartsUtc(midnight.value).day !== Number(date!.slice(-2))) {
    return complain(`${quote(text)} is not in the calendar`, fix)
  }
  if (+hour > 23 || +minute > 59 || +second > 60 || +offsetHour > 23 || +offsetMinute > 59) {
    return complain(`${quote(text)} is not a time of day`, fix)
  }
  const minutes = +hour * 60 + +minute - (sign === "-" ? -1 : 1) * (+offsetHour * 60 + +offsetMinute)
  const milliseconds = +second * 1_000 + Number(fraction.slice(0, 3).padEnd(3, "0"))
  return Result.succeed(DateTime.toEpochMillis(midnight.value) + minutes * 60_000 + milliseconds)
}

const expiryFormat =
  /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,32}))?)?(?:Z|([+-])(\d{2}):(\d{2}))?)?$/i

/** A name of a network device as Linux takes it. */
export const parseDevice = (text: string): Parsed<string> =>
  /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}$/.test(text)
    ? Result.succeed(text)
    : complain(`${quote(text)} is not a device name`, "use at most 15 letters, digits, dots, dashes or underscores")

/** An absolute path of at most `max` bytes. */
export const parsePath =
  (max: number) =>
  (text: string): Parsed<string> => {
    if (!text.startsWith("/") || text.includes("\0")) {
      return complain(`${quote(text)} is not an absolute path`, "start it with /")
    }
    return new TextEncoder().encode(text).length <= max
      ? Result.succeed(text)
      : complain(`the path is longer than ${max} bytes`, "use a shorter one")
  }

const isHostName = (text: string): boolean =>
  text.length <= 253 &&
  !/^[0-9.]+$/.test(text) &&
  text.split(".").every((label) => /^[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/.test(label))
