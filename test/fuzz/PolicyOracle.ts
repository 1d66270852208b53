/**
 * What the gateway in `PolicyWorld` may let through, written down once more and independent of the engine: client 1 has
 * a name with the ports of two resources, client 2 a network with ports, and nobody has anything else.
 */
import type { PortFilter } from "../../src/model/PortFilter.ts"
import { contains, formatAddress, parseNetwork } from "../../src/packet/address.ts"
import { makePacketView, type PacketView, parsePacket } from "../../src/packet/packetView.ts"
import { protocolTcp, protocolUdp } from "../../src/packet/protocols.ts"
import { gateway4, gateway6, policy, tunnel4, tunnel6 } from "../support/engineWorld.ts"
import { invariant } from "./Target.ts"

export const lab = "10.20.0.0/16"
export const labPorts = { from: 8_000, to: 8_100 }
/** What each resource of client 1 that covers its name lets through: together, while it has both. */
export const nameFilters = {
  app: [{ protocol: "tcp", from: 443, to: 443 }, { protocol: "udp", from: 53, to: 53 }, { protocol: "icmp" }],
  admin: [{ protocol: "tcp", from: 8_443, to: 8_443 }]
} as const satisfies Readonly<Record<string, ReadonlyArray<PortFilter>>>
export type NameResource = keyof typeof nameFilters
/** An address of the gateway itself within the lab. */
const ownLab = "10.20.0.1"

const networks = (texts: ReadonlyArray<string>) => texts.map((text) => parseNetwork(text)!)
const tunnel = networks(policy.tunnelNetworks)
const proxies = networks(policy.proxyNetworks)
const labNetwork = parseNetwork(lab)!

export class PolicyOracle {
  /** The resources that client 1 has now. */
  readonly granted = new Set<NameResource>()
  /** Every address that the name ever had. */
  readonly published = new Set<string>()
  private readonly view = makePacketView()
  private readonly dnsPort: number

  constructor(dnsPort: number) {
    this.dnsPort = dnsPort
  }

  /** A packet that leaves through the device. */
  judgeOutside(packet: Uint8Array): void {
    const { view } = this
    const read = parsePacket(packet, 0, packet.length, view)
    invariant(read === 0, `an unreadable packet leaves (${read})`)
    const source = formatAddress(view.source)
    const destination = formatAddress(view.destination)
    const owner = [1, 2].find((n) => source === tunnel4(n) || source === tunnel6(n))
    invariant(owner !== undefined, `a packet leaves with the source ${source}`)
    if (destination === gateway4 || destination === gateway6) {
      invariant(isLater(view) || view.echo || this.isDns(view), "a service of the gateway that it does not offer")
      return
    }
    invariant(!tunnel.some((network) => contains(network, view.destination)), "into the tunnel range")
    invariant(!proxies.some((network) => contains(network, view.destination)), "into the proxy range")
    invariant(!view.icmpError, "an ICMP error of a client leaves")
    if (owner === 1) this.judgeName(destination)
    else this.judgeLab(destination)
  }

  /** A packet that client `n` gets. */
  judgeInside(n: number, packet: Uint8Array): void {
    const { view } = this
    const read = parsePacket(packet, 0, packet.length, view)
    invariant(read === 0, `client ${n} gets an unreadable packet (${read})`)
    const destination = formatAddress(view.destination)
    invariant(destination === tunnel4(n) || destination === tunnel6(n), `client ${n} gets a packet for ${destination}`)
  }

  private judgeName(destination: string): void {
    const { view } = this
    invariant(this.granted.size > 0, "client 1 passes after its resources were revoked")
    invariant(this.published.has(destination), `client 1 reaches ${destination}, which its name never was`)
    const allowed = Array.from(this.granted, (id) => nameFilters[id])
      .flat()
      .some((filter) => (filter.protocol === "icmp" ? view.query : isWithin(filter, view)))
    invariant(isLater(view) || allowed, `client 1 passes its filter: ${view.protocol}/${view.destinationPort}`)
  }

  private judgeLab(destination: string): void {
    const { view } = this
    invariant(contains(labNetwork, view.destination) && destination !== ownLab, `client 2 reaches ${destination}`)
    const { destinationPort, protocol } = view
    const allowed = protocol === protocolUdp && destinationPort >= labPorts.from && destinationPort <= labPorts.to
    invariant(isLater(view) || allowed, `client 2 passes its filter: ${protocol}/${destinationPort}`)
  }

  private isDns({ destinationPort, protocol }: PacketView): boolean {
    return (protocol === protocolUdp || protocol === protocolTcp) && destinationPort === this.dnsPort
  }
}

/** Later fragments have no ports; they follow their first. */
const isLater = (view: PacketView): boolean => view.fragmentOffset !== 0

const isWithin = (
  { from, protocol, to }: { readonly protocol: "tcp" | "udp"; readonly from: number; readonly to: number },
  view: PacketView
): boolean =>
  view.protocol === (protocol === "tcp" ? protocolTcp : protocolUdp) &&
  view.destinationPort >= from &&
  view.destinationPort <= to
