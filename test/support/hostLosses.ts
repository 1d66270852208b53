/** What others do to a gateway's host: shell commands for the lab's gateway, and what it says when it has put that right. */
export interface HostLoss {
  readonly name: string
  /** For `sh -ec`. */
  readonly command: string
  readonly told: string
}

const device = "sallyport0"
const table = `inet sallyport_${device}`

export const hostLosses: ReadonlyArray<HostLoss> = [
  { name: "nft flush ruleset", command: "nft flush ruleset", told: "nft table was gone" },
  { name: "own table deleted", command: `nft delete table ${table}`, told: "nft table was gone" },
  { name: "own table emptied", command: `nft flush table ${table}`, told: "nft table was changed" },
  { name: "a rule added to the own table", command: `nft insert rule ${table} forward drop`, told: "was changed" },
  { name: "ip_forward=0", command: "sysctl -qw net.ipv4.ip_forward=0", told: "net.ipv4.ip_forward was 0" },
  {
    name: "forwarding=0 of the tunnel's device",
    command: `sysctl -qw net.ipv4.conf.${device}.forwarding=0`,
    told: `net.ipv4.conf.${device}.forwarding was 0`
  },
  {
    name: "forwarding=0 of the LAN's device",
    command: "sysctl -qw net.ipv4.conf.inner.forwarding=0",
    told: "net.ipv4.conf.inner.forwarding was 0"
  },
  {
    name: "IPv6 forwarding=0",
    command: "sysctl -qw net.ipv6.conf.all.forwarding=0",
    told: "net.ipv6.conf.all.forwarding was 0"
  },
  { name: "addresses flushed", command: `ip address flush dev ${device}`, told: "address 100.64.0.1/32 was gone" },
  { name: "routes flushed", command: `ip route flush dev ${device}`, told: "route 100.64.0.0/11 was gone" },
  {
    name: "IPv6 routes flushed",
    command: `ip -6 route flush dev ${device}`,
    told: "route fd00:2021:1111::/107 was gone"
  },
  {
    name: "route led elsewhere",
    command: "ip route replace 100.64.0.0/11 dev inner",
    told: "route 100.64.0.0/11 led elsewhere"
  },
  {
    name: "device down and up",
    command: `ip link set ${device} down; ip link set ${device} up`,
    told: "route 100.64.0.0/11 was gone"
  },
  { name: "device down", command: `ip link set ${device} down`, told: `${device} was down` },
  { name: "MTU changed", command: `ip link set ${device} mtu 576`, told: `the MTU of ${device} was 576` },
  { name: "device deleted", command: `ip link delete ${device}`, told: `the TUN device ${device} was gone` },
  {
    name: "device renamed",
    command: `ip link set ${device} name other0`,
    told: `the TUN device ${device} was renamed to other0`
  }
]
