/** What people and peers write in a line: addresses, networks, names, patterns, candidates, times, files of the host. */
import { parseHumantime } from "../../../src/config/humantime.ts"
import { decide, initialLink } from "../../../src/control/firezone/connectPolicy.ts"
import { readApiUrl } from "../../../src/control/firezone/handshake.ts"
import { parseHostPort } from "../../../src/control/firezone/hostPort.ts"
import { parseHosts } from "../../../src/dns/hosts.ts"
import { canonicalName, isWithin, labelsOf, parentName } from "../../../src/dns/name.ts"
import { parseResolvConf } from "../../../src/dns/resolvConf.ts"
import { reverseAddress } from "../../../src/dns/reverse.ts"
import { parseCandidate } from "../../../src/ice/candidate.ts"
import { canonicalDomain, compareSpecificity, matches, validate } from "../../../src/model/DomainPattern.ts"
import { formatAddress, formatNetwork, parseAddress, parseNetwork } from "../../../src/packet/address.ts"
import { invariant, type Target, utf8 } from "../Target.ts"

const longName = `${"a".repeat(60)}.${"a".repeat(60)}.x`

const addresses = (text: string): void => {
  const address = parseAddress(text)
  if (address !== undefined) {
    const again = parseAddress(formatAddress(address))
    invariant(again !== undefined, "an address that is written can be read")
    invariant(again.w0 === address.w0 && again.w1 === address.w1, "the upper half of an address")
    invariant(again.w2 === address.w2 && again.w3 === address.w3, "the lower half of an address")
  }
  const network = parseNetwork(text)
  if (network !== undefined)
    invariant(parseNetwork(formatNetwork(network)) !== undefined, "a network, written and read")
}

const domains = (text: string): void => {
  const domain = canonicalDomain(text)
  if (domain === undefined) {
    invariant(!matches("*.corp.internal", text) && !matches("**", text), "no name, but a pattern matches")
  } else {
    invariant(canonicalDomain(domain) === domain, "canonical twice")
    invariant(/^[!-@[-~]+$/.test(domain), "characters of a canonical name")
    if (matches("*.corp.internal", text) && !domain.includes("\\"))
      invariant(/^([^.]+\.)?corp\.internal$/.test(domain), "* goes too far")
    if (matches("**.corp.internal", text) && !domain.includes("\\"))
      invariant(/^(.+\.)?corp\.internal$/.test(domain), "** goes too far")
  }
  if (validate(text) === null) {
    matches(text, "a.b.corp.internal")
    compareSpecificity(text, "*.x")
  }
  matches(text, longName)
  reverseAddress(text)
  if (labelsOf(text) === null) return
  canonicalName(text)
  isWithin(text, "corp.internal")
  parentName(text)
}

export const target: Target = {
  seeds: utf8(
    "1.2.3.4",
    "::ffff:1.2.3.4",
    "fd00::/8",
    "*.corp.internal",
    "**.a?b.c",
    "candidate:fd9e1f2a 1 udp 2130706175 192.0.2.1 52625 typ host",
    "candidate:1 1 udp 1694498815 203.0.113.7 1234 typ srflx raddr 0.0.0.0 rport 0",
    "[2001:db8::1]:3478",
    "wss://portal.example.com/",
    "24h 3m",
    "Wed, 21 Oct 2026 07:28:00 GMT",
    "120",
    "nameserver 10.0.0.1\noptions x\nnameserver fe80::1%eth0\n",
    "10.0.0.1 a b # c\n::1 localhost\n",
    "4.3.2.1.in-addr.arpa"
  ),
  dictionary: utf8(
    "::",
    "%",
    "/128",
    "\\.",
    "\\255",
    "ſ",
    "K",
    "İ",
    "\0",
    "xn--",
    "..",
    ".in-addr.arpa",
    "ip6.arpa",
    "0x7f",
    "127.1",
    "[",
    "]",
    ":0",
    "99999999999999999999"
  ),
  maxLength: 300,
  lifetime: 1,
  bound: 20,
  start: () => (input) => {
    const text = Buffer.from(input).toString("utf8")
    addresses(text)
    domains(text)
    for (const read of [parseCandidate, parseHostPort, parseHumantime, readApiUrl, parseResolvConf, parseHosts])
      read(text)
    const told = decide(initialLink(0, false), { _tag: "Http", status: 429, retryAfter: text }, 0, 0.5, 86_400_000)
    if (told._tag === "Retry") invariant(told.afterMs >= 0 && told.afterMs <= 600_000, "how long a portal is obeyed")
  }
}
