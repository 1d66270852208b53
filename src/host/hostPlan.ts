/**
 * The host as a desired state: what must be there for the tunnel to work, and what puts right the difference to what is
 * there. Used at the start, when all is missing, and for as long as the gateway runs.
 */
import { maxQuestions } from "../nat/UnansweredQuestions.ts"
import { formatAddress, parseAddress } from "../packet/address.ts"
import type { HostPlan } from "./HostNetwork.ts"
import type { Link, RouteTaken } from "./netlink.ts"

export interface HostWanted {
  readonly device: string
  readonly mtu: number
  /** `address/prefix`, canonical. */
  readonly addresses: ReadonlyArray<string>
  readonly routes: ReadonlyArray<WantedRoute>
  /** IPv6 is part of it. */
  readonly v6: boolean
  /** The gateway's own nft table; `false`: the firewall is left alone. */
  readonly table: boolean
}

interface WantedRoute {
  readonly network: string
  /** The gateway's address, which packets of its own leave with. */
  readonly source: string
  /** Addresses all over the network: one that is not in somebody's longer route stands for all of it. */
  readonly probes: ReadonlyArray<string>
}

export interface HostObserved {
  /** `null`: the host has no such device, or another one has its name. */
  readonly link: Omit<Link, "name"> | null
  /** The name that somebody has given to the device instead. */
  readonly renamed?: string
  /** Of the device, `address/prefix`, canonical. */
  readonly addresses: ReadonlySet<string>
  /** By wanted network; a network that leads nowhere is left out. */
  readonly routes: ReadonlyMap<string, RouteTaken>
  /**
   * Whether packets are forwarded, and advertisements of routers taken nevertheless, by the path below `/proc/sys` that says
   * so; all that is looked at must be right.
   */
  readonly forwarding: ReadonlyMap<string, boolean>
  readonly table: "right" | "changed" | "gone"
}

/** `lost` says in words what was wrong: "route 100.64.0.0/11 was gone". */
export type Repair =
  /** The TUN device has to be made again. Nothing else of it can be put right before. */
  | { readonly _tag: "Device"; readonly lost: string }
  /** Lines for `ip -batch`. `futile`: why it is so still, when they went well. */
  | { readonly _tag: "Ip"; readonly lost: string; readonly lines: ReadonlyArray<string>; readonly futile?: string }
  | { readonly _tag: "Forwarding"; readonly lost: string; readonly path: string }
  | { readonly _tag: "Table"; readonly lost: string }

export const globalForwarding = { 4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding" } as const
export const deviceForwarding = (device: string, family: 4 | 6): string => `net/ipv${family}/conf/${device}/forwarding`

const acceptRa = "accept_ra"
export const acceptAdvertisements = (device: string): string => `net/ipv6/conf/${device}/${acceptRa}`

/** A host that forwards takes advertisements of routers at 2 only. */
export const rightValue = (path: string): "1" | "2" => (path.endsWith(`/${acceptRa}`) ? "2" : "1")

/**
 * Packets that wait for the gateway in its device: the answers to all questions that its DNS server may have at a time, and
 * as many of others as Linux gives a device. What finds it full is lost, whoever's it is.
 */
const queueLength = maxQuestions + 1_000

export const hostWanted = (plan: HostPlan, v6: boolean): HostWanted => {
  const present = (text: string): boolean => v6 || !text.includes(":")
  return {
    device: plan.device,
    mtu: plan.mtu,
    addresses: [`${plan.gateway4}/32`, `${plan.gateway6}/128`].filter(present).map(canonical),
    routes: plan.tunnelNetworks.filter(present).map((network) => {
      const source = network.includes(":") ? plan.gateway6 : plan.gateway4
      return { network: canonical(network), source: canonical(source), probes: probesOf(source, prefixOf(network)) }
    }),
    v6,
    table: plan.firewall !== "off"
  }
}

/** Nothing of it is there yet, but the device. */
export const nothingThere = (wanted: HostWanted): HostObserved => ({
  link: { index: 0, up: false, mtu: 0, queue: 0 },
  addresses: new Set(),
  routes: new Map(),
  forwarding: new Map(
    (wanted.v6 ? ([4, 6] as const) : ([4] as const)).map((family) => [globalForwarding[family], false])
  ),
  table: "gone"
})

/**
 * What has to be done, in this order: filtered before it forwards, addresses before the routes that name them as source.
 * Nothing where all is right.
 */
export const compare = (wanted: HostWanted, observed: HostObserved): ReadonlyArray<Repair> => {
  const { device } = wanted
  const { link } = observed
  const repairs: Array<Repair> = []
  if (wanted.table && observed.table !== "right") {
    repairs.push({ _tag: "Table", lost: `the gateway's nft table was ${observed.table}` })
  }
  if (link === null) {
    const what = observed.renamed === undefined ? "gone" : `renamed to ${observed.renamed}`
    return [...repairs, { _tag: "Device", lost: `the TUN device ${device} was ${what}` }]
  }
  const wrong = [
    ...(link.up ? [] : [`${device} was down`]),
    ...(link.mtu === wanted.mtu ? [] : [`the MTU of ${device} was ${link.mtu}`]),
    ...(link.queue === queueLength ? [] : [`the queue of ${device} was ${link.queue} packets`])
  ]
  if (wrong.length > 0) {
    const lines = [
      // Its own link-local address would make it a member of multicast groups.
      ...(wanted.v6 && !link.up ? [`link set dev ${device} addrgenmode none`] : []),
      `link set dev ${device} mtu ${wanted.mtu} txqueuelen ${queueLength} up`
    ]
    repairs.push({ _tag: "Ip", lost: wrong.join(", "), lines })
  }
  for (const address of wanted.addresses) {
    if (observed.addresses.has(address)) continue
    // No duplicate address detection, or services could not bind for a second.
    const line = `address replace ${address} dev ${device}${address.includes(":") ? " nodad" : ""}`
    repairs.push({ _tag: "Ip", lost: `address ${address} was gone`, lines: [line] })
  }
  for (const { network, probes, source } of wanted.routes) {
    const taken = observed.routes.get(network)
    const right = taken?.device === link.index && taken.prefix === prefixOf(network) && taken.source === source
    if (right) continue
    const lost = taken?.device === link.index ? "was changed" : taken === undefined ? "was gone" : "led elsewhere"
    repairs.push({
      _tag: "Ip",
      lost: `route ${network} ${lost}`,
      lines: [`route replace ${network} dev ${device} src ${source}`],
      futile: `another route or rule of the host goes first: look at "ip route get ${probes[0]}" and "ip rule", and remove it`
    })
  }
  for (const [path, right] of observed.forwarding) {
    if (right) continue
    repairs.push({ _tag: "Forwarding", lost: `${sysctlName(path)} was ${Number(rightValue(path)) - 1}`, path })
  }
  return repairs
}

/** As `sysctl` takes it: with slashes where a device's name has a dot. */
export const sysctlName = (path: string): string => (path.includes(".") ? path : path.replaceAll("/", "."))

export const prefixOf = (network: string): number => Number(network.slice(network.indexOf("/") + 1))

const canonical = (text: string): string => {
  const [address = text, prefix] = text.split("/")
  const words = parseAddress(address)
  return words === undefined ? text : `${formatAddress(words)}${prefix === undefined ? "" : `/${prefix}`}`
}

/** This address with one other bit each, from its neighbour to the network's other half. */
const probesOf = (address: string, prefix: number): ReadonlyArray<string> => {
  const words = parseAddress(address)
  if (words === undefined) return [address]
  const bits = Math.min(32, (address.includes(":") ? 128 : 32) - prefix)
  return Array.from({ length: Math.max(1, bits - 1) }, (_, i) => formatAddress({ ...words, w3: words.w3 ^ (2 << i) }))
}
