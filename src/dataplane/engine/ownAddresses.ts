/**
 * The addresses that clients may reach us at: this host's own ones, those that a relay saw us come from, and those that
 * a relay gave us.
 */
import type { Relays } from "../../ice/Relays.ts"
import type { Relay, RelayId } from "../../model/Relay.ts"
import { isIpv4 } from "../../packet/address.ts"
import { formatTransport, type TransportAddress, transportAddress } from "../../packet/transportAddress.ts"
import type { SetHostCandidates } from "../commands.ts"

export interface OwnAddress {
  readonly kind: "host" | "srflx" | "relay"
  readonly address: TransportAddress
  /** Kind and address as text. */
  readonly key: string
}

/** Our socket, as far as candidates are about it. */
export interface Sockets {
  /** Of both families. */
  readonly port: number
  readonly ipv4: boolean
  /** May come later. */
  ipv6: boolean
}

/** More addresses of a host are left out. */
const mostHosts = 16

export class OwnAddresses {
  private readonly relays: Relays
  private readonly sockets: Sockets
  private hosts: ReadonlyArray<OwnAddress> = []
  private relayIds: ReadonlyArray<RelayId> = []
  private readonly known = new Map<RelayId | undefined, ReadonlyArray<OwnAddress>>()

  constructor(relays: Relays, sockets: Sockets) {
    this.relays = relays
    this.sockets = sockets
  }

  setHosts(addresses: SetHostCandidates["addresses"]): void {
    const usable = addresses.flatMap(({ address, port }) => transportAddress(address, port) ?? [])
    this.hosts = usable.filter(({ port }) => port > 0).map((address) => own("host", address))
    this.known.clear()
  }

  setRelays(relays: ReadonlyArray<Relay>): void {
    this.relayIds = relays.map(({ id }) => id)
    this.known.clear()
  }

  /** Relays found or lost some, or a socket has come. */
  changed(): void {
    this.known.clear()
  }

  /**
   * Those of a connection that uses this relay; one that uses none has no relayed ones, and what all relays saw. None
   * comes twice, and what a relay saw or claims to have given is left out where it is the host's own.
   */
  of(relay: RelayId | undefined): ReadonlyArray<OwnAddress> {
    const known = this.known.get(relay)
    if (known !== undefined) return known
    const hosts = this.hosts.filter(({ address }) => (isIpv4(address.address) ? this.sockets.ipv4 : this.sockets.ipv6))
    const all = new Map(hosts.slice(0, mostHosts).map((host) => [host.key, host]))
    const seen = (ids: ReadonlyArray<RelayId>, kind: OwnAddress["kind"]): void => {
      for (const id of ids) {
        for (const candidate of this.relays.candidates(id)) {
          const address = own(kind, candidate.address)
          const ours = kind !== "host" && all.has(own("host", candidate.address).key)
          if (candidate.kind === kind && !ours) all.set(address.key, address)
        }
      }
    }
    seen(this.relayIds, "host")
    seen(relay === undefined ? this.relayIds : [relay], "srflx")
    if (relay !== undefined) seen([relay], "relay")
    const addresses = [...all.values()]
    this.known.set(relay, addresses)
    return addresses
  }
}

const own = (kind: OwnAddress["kind"], address: TransportAddress): OwnAddress => ({
  kind,
  address,
  key: `${kind} ${formatTransport(address)}`
})
