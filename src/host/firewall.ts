/**
 * The gateway's own nftables table as an `nft -f` script. A packet has to pass it besides whatever else the
 * host filters: it only ever takes away.
 */
import { sessionTimeouts } from "../nat/sessions.ts"
import type { ForeignNetwork } from "./ForeignNetworks.ts"
import type { HostPlan } from "./HostNetwork.ts"
import type { PortRange } from "./portRange.ts"

/** Name of the table of one device (family `inet`). Characters that nft has no use for are written in hex. */
export const firewallTable = (device: string): string =>
  tablePrefix + device.replaceAll(/[^A-Za-z0-9]/g, (c) => `_${c.charCodeAt(0).toString(16).padStart(2, "0")}`)

/** The device whose table this is, or whose packets it counts; `undefined` for tables of others. */
export const deviceOfTable = (table: string): string | undefined =>
  table.startsWith(tablePrefix)
    ? table
        .slice(tablePrefix.length)
        .replace(/\..*$/, "")
        .replaceAll(/_([0-9a-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
    : undefined

/** Deletes the table whether it exists or not, in one transaction. */
export const removeScript = (table: string): string => `table inet ${table}\ndelete table inet ${table}\n`

/** Replaces the table, in one transaction. `ports`: what masqueraded flows may leave from. */
export const firewallScript = (
  plan: HostPlan,
  ports: Ports,
  foreignNetworks: ReadonlyArray<ForeignNetwork> = []
): string => {
  const { device, dnsPort } = plan
  const table = firewallTable(device)
  return `${removeScript(table)}
table inet ${table} {
${ownCounters.map((name) => `  counter ${name} { }`).join("\n")}
${networkSets("tunnel", plan.tunnelNetworks)}
${networkSets("inside", [...plan.tunnelNetworks, ...plan.proxyNetworks])}
${networkSets(
  "foreign",
  foreignNetworks.map(({ network }) => network)
)}
${plan.trackUdp ? "" : untracked(plan)}
  chain forward {
    type filter hook forward priority ${firewallPriority}; policy accept;
    oifname "${device}" iifname != "${device}" ct state established,related accept
    iifname "${device}" jump antispoof
    iifname "${device}" ct state new jump begun
    iifname "${device}" oifname "${device}" counter name from_tunnel_refused drop
${plan.masquerade ? "" : routedReplies(plan)}    oifname "${device}" counter name to_tunnel_refused drop
    ip daddr @inside4 jump through_to_inside
    ip6 daddr @inside6 jump through_to_inside
  }
  chain antispoof {
    meta nfproto ipv4 ip saddr != @tunnel4 counter name spoofed drop
    meta nfproto ipv6 ip6 saddr != @tunnel6 counter name spoofed drop
  }
  chain begun {
  }
  chain through_to_inside {
    ip daddr @foreign4 accept
    ip6 daddr @foreign6 accept
    iifname "${device}" counter name from_tunnel_refused drop
    counter name to_tunnel_refused drop
  }
  chain input {
    type filter hook input priority ${firewallPriority}; policy accept;
    iifname "${device}" jump from_tunnel
    ct state new,invalid jump unproven
    ip daddr @inside4 jump to_inside
    ip6 daddr @inside6 jump to_inside
  }
  chain unproven {
${plan.masquerade ? "    ct state invalid jump astray\n" : ""}  }
  chain to_inside {
    iifname "lo" accept
    ip daddr @foreign4 accept
    ip6 daddr @foreign6 accept
    counter name to_tunnel_refused drop
  }
  chain from_tunnel {
    jump antispoof
    ct state established,related accept
    ct state new jump begun
    ip daddr @inside4 ip daddr != @foreign4 jump services
    ip6 daddr @inside6 ip6 daddr != @foreign6 jump services
${plan.allowGatewayHost === true ? ownHost : ""}    counter name host_refused drop
  }
  chain services {
    udp dport ${dnsPort} accept
    tcp dport ${dnsPort} accept
    icmp type echo-request accept
    icmpv6 type echo-request accept
  }
${plan.masquerade ? masquerade(device, ports, plan.keepPorts) : ""}
}
`
}

/** Tells the table what of the ranges is the host's from now on. */
export const foreignScript = (device: string, networks: ReadonlyArray<ForeignNetwork>): string => {
  const { v4, v6 } = byFamily(networks.map(({ network }) => network))
  const replace = (name: string, elements: ReadonlyArray<string>): string => {
    const where = `inet ${firewallTable(device)} ${name}`
    const add = elements.length === 0 ? "" : `add element ${where} { ${elements.join(", ")} }\n`
    return `flush set ${where}\n${add}`
  }
  return replace("foreign4", v4) + replace("foreign6", v6)
}

/** What the table has taken away, by its rules' counters. */
const ownCounters = [
  "from_tunnel_refused",
  "spoofed",
  "to_tunnel_refused",
  "host_refused",
  "stray_out",
  "stray_in"
] as const

/** Where masqueraded flows leave from. `privileged`: those that keep a port below 1024. */
export interface Ports extends PortRange {
  readonly privileged: PortRange
}

/**
 * What the table is better off with, but not every kernel has; each to be run after `firewallScript`, by itself.
 *
 * - The kernel forgets a client's TCP connections when the packet path does (RFC 5382: 2 h 4 min of silence), not after
 *   five days: clients that come and go would else fill the host's connection table. Strangers at our own port stay there
 *   for 5 s only, as forged ones would fill it too.
 * - Packets astray that belong to a connection of the host itself are the host's to judge.
 */
export const optionalScripts = (plan: HostPlan): ReadonlyArray<string> => {
  const { listenPort } = plan
  const table = firewallTable(plan.device)
  const timeouts = `table inet ${table} {
  ct timeout tcp4 { protocol tcp; l3proto ip; policy = { established: ${establishedSeconds} }; }
  ct timeout tcp6 { protocol tcp; l3proto ip6; policy = { established: ${establishedSeconds} }; }
  ct timeout udp4 { protocol udp; l3proto ip; policy = { unreplied: ${strangerSeconds}, replied: ${outerSeconds} }; }
  ct timeout udp6 { protocol udp; l3proto ip6; policy = { unreplied: ${strangerSeconds}, replied: ${outerSeconds} }; }
  chain begun {
    meta nfproto ipv4 meta l4proto tcp ct timeout set "tcp4"
    meta nfproto ipv6 meta l4proto tcp ct timeout set "tcp6"
  }
  chain unproven {
    meta nfproto ipv4 udp dport ${listenPort} ct state new ct timeout set "udp4"
    meta nfproto ipv6 udp dport ${listenPort} ct state new ct timeout set "udp6"
  }
}
`
  return [timeouts, ...(plan.masquerade ? [`insert rule inet ${table} astray socket wildcard <= 1 return\n`] : [])]
}

/** Our own rules come before everybody's: what they let through and never comes, somebody else has taken. */
export const firewallPriority = -10_000

/** A client's WireGuard session lives that long without a word. */
const outerSeconds = 180
/** An answer takes milliseconds. */
const strangerSeconds = 5

const untracked = ({ device, listenPort }: HostPlan) => `  chain untracked_in {
    type filter hook prerouting priority raw; policy accept;
    iifname != "${device}" udp dport ${listenPort} fib daddr type local notrack
  }
  chain untracked_out {
    type filter hook output priority raw; policy accept;
    oifname != "${device}" udp sport ${listenPort} fib saddr type local notrack
  }`

/**
 * Without masquerading a connection needs no tracking to find its client: what is no start of one goes on to the packet
 * path, which knows its sessions. So connections live through a flushed connection table, and strays get their answers. Of UDP
 * nobody can tell: where a flow may have begun at another gateway, all of it goes there.
 */
const routedReplies = ({ device, sharesClients }: HostPlan) => `    oifname "${device}" ct state invalid accept
    oifname "${device}" tcp flags & (syn | ack) != syn accept
${sharesClients === true ? `    oifname "${device}" meta l4proto udp accept\n` : ""}`

/** A little more than the session, which must not outlive its translation. */
const establishedSeconds = sessionTimeouts.tcp / 1_000 + 60

/** SCTP, DCCP, UDP-Lite as assigned numbers: a minimal system has no /etc/protocols, where nft looks these names up. */
const otherTransports = "132, 33, 136"

const tablePrefix = "sallyport_"

const ownHost = `    ip daddr != @inside4 accept
    ip6 daddr != @inside6 accept
    ip daddr @foreign4 accept
    ip6 daddr @foreign6 accept
`

/** Source addresses are what they will be on the wire. */
const afterTranslation = 200

/**
 * What connection tracking does not understand is not translated either. Towards the LAN it would leave with a client's
 * address (`strays`); from there it would reach the host itself, whose answer would end the client's connection (`astray`).
 */
const masquerade = (device: string, ports: Ports, keepPorts: boolean): string => `
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    oifname "${device}" accept
    ip saddr @foreign4 accept
    ip6 saddr @foreign6 accept
${["ip saddr @tunnel4", "ip6 saddr @tunnel6"].map((source) => translations(source, ports, keepPorts)).join("\n")}
  }
  chain leaving {
    type filter hook postrouting priority ${afterTranslation}; policy accept;
    oifname "${device}" accept
    ip saddr @tunnel4 jump strays
    ip6 saddr @tunnel6 jump strays
  }
  chain strays {
    oifname "lo" accept
    ip saddr @foreign4 accept
    ip6 saddr @foreign6 accept
    counter name stray_out drop
  }
  chain astray {
    iifname "lo" return
    tcp dport ${ports.from}-${ports.to} counter name stray_in drop
${keepPorts && ports.privileged.from <= ports.privileged.to ? `    tcp dport ${ports.privileged.from}-${ports.privileged.to} counter name stray_in drop\n` : ""}    meta l4proto { ${otherTransports} } counter name stray_in drop
  }`

/**
 * Without `random` the kernel gives all flows of one inside address and port the same outside port, wherever they go (RFC
 * 4787's endpoint-independent mapping), and that is the inside port if it lies in the range and is free.
 */
const translations = (source: string, { from, privileged, to }: Ports, keepPorts: boolean): string => {
  const ports = `${source} meta l4proto { tcp, udp }`
  const kept = `masquerade to :${privileged.from}-${privileged.to}`
  const lines = keepPorts
    ? [
        ...(privileged.from <= privileged.to ? [`${ports} th sport < 1024 ${kept}`] : []),
        `${ports} masquerade to :${from}-${to}`,
        `${source} masquerade`
      ]
    : [`${ports} masquerade to :${from}-${to} fully-random`, `${source} masquerade fully-random`]
  return lines.map((line) => `    ${line}`).join("\n")
}

const byFamily = (networks: ReadonlyArray<string>) => ({
  v4: networks.filter((n) => !n.includes(":")),
  v6: networks.filter((n) => n.includes(":"))
})

/** The networks as two sets, `name`4 and `name`6. */
export const networkSets = (name: string, networks: ReadonlyArray<string>): string => {
  const { v4, v6 } = byFamily(networks)
  return `${set(`${name}4`, "ipv4_addr", v4)}\n${set(`${name}6`, "ipv6_addr", v6)}`
}

const set = (name: string, type: string, elements: ReadonlyArray<string>): string =>
  `  set ${name} { type ${type}; flags interval; auto-merge; ${elements.length === 0 ? "" : `elements = { ${elements.join(", ")} }`} }`
