/** Everything that moves with packets, shared by the two directions. One instance per worker. */
import type { PacketPolicy } from "../packetPolicy.ts"
import { counterIndex, type Counters, type EngineCounter } from "../counters.ts"
import { type RefusalReason, refusalReasons } from "../journal.ts"
import type { MappingId } from "../../model/Mapping.ts"
import type { ResourceId } from "../../model/Resource.ts"
import { AwaitedProxies } from "../../nat/awaitedProxies.ts"
import { DestinationPolicy } from "../../nat/destinationPolicy.ts"
import { Fragments } from "../../nat/fragments.ts"
import { Parking } from "../../nat/parking.ts"
import { ReplyEvidence } from "../../nat/replyEvidence.ts"
import { permits } from "../../nat/portFilters.ts"
import { gatewayPacketLimit, icmpErrorLimit, RateLimits } from "../../nat/rateLimits.ts"
import { UnansweredQuestions } from "../../nat/UnansweredQuestions.ts"
import { refusedRoute, Routes } from "../../nat/routes.ts"
import { SessionBirths } from "../../nat/sessionBirths.ts"
import type { Reserve } from "../../nat/sessionRecords.ts"
import { Sessions } from "../../nat/sessions.ts"
import { Silence } from "../../nat/silence.ts"
import { Translations } from "../../nat/translations.ts"
import { equal, isIpv4, type Network, type Words, words } from "../../packet/address.ts"
import type { Arena } from "../../packet/arena.ts"
import type { PacketView } from "../../packet/packetView.ts"
import { type ClientEntry, type ClientResource, ClientTable } from "./clientTable.ts"
import { Interner } from "./interner.ts"
import { Journal } from "./journal.ts"
import { NetworkSet } from "./networkSet.ts"
import { NoticeBox } from "./noticeBox.ts"
import type { PacketIo } from "./packetIo.ts"

interface StateOptions {
  readonly epoch: number
  readonly arena: Arena
  readonly io: PacketIo
  readonly counters: Counters
  readonly maxSessions: number
  readonly reserve?: Reserve
  readonly hashSeed: number
}

/** Sessions of one client. */
const sessionsPerClient = 16_384

const earlyLimits = { perMapping: 32, perClient: 65_536, total: 4_194_304, holdFor: 2_000 }

export class EngineState {
  /** How the tables forget a mapping. Before them, since they say it when they are made. */
  private readonly learned: Array<(mapping: number) => void> = []
  /** The same for one whose resource was revoked, and may come back. */
  private readonly suspended: Array<(mapping: number) => void> = []
  readonly epoch: number
  readonly bytes: Uint8Array
  readonly io: PacketIo
  readonly counters: Counters
  readonly notices: NoticeBox
  readonly clients = new ClientTable()
  readonly mappings = new Interner<MappingId>()
  readonly resources = new Interner<ResourceId>()
  readonly translations = new Translations()
  readonly evidence = this.track(new ReplyEvidence())
  readonly silence = this.track(new Silence())
  readonly policy = new DestinationPolicy()
  readonly parking = this.track(new Parking())
  /** What waits for them is in `parking`, by `awaitedKey`. */
  readonly awaited = new AwaitedProxies()
  /** By clients, not by mappings: what would be refused while `ordersWait`. */
  readonly early = new Parking(earlyLimits)
  /** Orders that were given before this turn are still to be carried out: what lets a packet through may be among them. */
  ordersWait = false
  readonly fragments = this.track(new Fragments())
  readonly routes = this.track(new Routes())
  readonly icmpErrors = this.track(new RateLimits(icmpErrorLimit))
  readonly gatewayPackets = this.track(new RateLimits(gatewayPacketLimit))
  readonly questions = this.track(new UnansweredQuestions())
  readonly sessions: Sessions
  readonly births: SessionBirths
  readonly journal: Journal
  /** Monotonic milliseconds of this turn, and epoch milliseconds, which only WireGuard's timestamps are made of. */
  now = 0
  wall = 0

  packets: PacketPolicy = nothingSet
  /** The host can forward to IPv6 addresses. */
  wayOut6 = true
  readonly gateway4: Words = words()
  readonly gateway6: Words = words()
  private tunnelNetworks: NetworkSet = new NetworkSet([])
  private proxyNetworks: NetworkSet = new NetworkSet([])
  private foreignNetworks: NetworkSet = new NetworkSet([])

  constructor(options: StateOptions) {
    this.epoch = options.epoch
    this.bytes = options.arena.bytes
    this.io = options.io
    this.counters = options.counters
    this.notices = this.track(new NoticeBox(options.epoch))
    this.sessions = this.track(
      new Sessions({
        capacity: options.maxSessions,
        perClient: sessionsPerClient,
        seed: options.hashSeed,
        ...(options.reserve === undefined ? {} : { reserve: options.reserve })
      })
    )
    this.sessions.onCut = () => this.count("sessions.cut")
    this.births = this.track(new SessionBirths(this.sessions, options.maxSessions))
    this.journal = this.track(new Journal(this))
    this.mappings.onRemoved((mapping) => this.removeMapping(mapping))
    this.clients.onRemoved((client) => {
      this.early.forgetMapping(client.index)
      for (const row of this.awaited.forgetClient(client.index)) this.parking.forgetMapping(awaitedKey(row))
      for (const mapping of client.mappings) this.mappings.remove(this.mappings.name(mapping)!)
      for (const resource of client.resources.keys()) this.resources.release(resource)
    })
  }

  /** Every table keyed by clients or mappings is made through this: what it keeps of one goes with it. */
  track<T extends Forgetful>(table: T): T {
    if (table.forgetClient !== undefined) this.clients.onRemoved(({ index }) => table.forgetClient!(index))
    if (table.forgetMapping !== undefined) {
      this.learned.push((mapping) => table.forgetMapping!(mapping))
      this.suspended.push((mapping) => (table.suspendMapping ?? table.forgetMapping!).call(table, mapping))
    }
    return table
  }

  /** The mapping's flows end, and what was learned from them is forgotten. */
  endFlows(mapping: number): void {
    for (const forget of this.learned) forget(mapping)
  }

  /** The mapping's flows wait, unseen by packets; what was learned from them is forgotten. */
  suspendFlows(mapping: number): void {
    for (const suspend of this.suspended) suspend(mapping)
  }

  count(counter: EngineCounter): void {
    this.counters[counterIndex[counter]]!++
  }

  /** A packet of the client goes no further. */
  refused(client: ClientEntry, reason: RefusalReason, view: Readonly<PacketView>): void {
    this.counters[refusalCounters[reason]]!++
    this.journal.refused(client, reason, view)
  }

  add(counter: EngineCounter, n: number): void {
    this.counters[counterIndex[counter]]! += n
  }

  set(counter: EngineCounter, n: number): void {
    this.counters[counterIndex[counter]] = n
  }

  setNetworks(tunnel: ReadonlyArray<Network>, proxy: ReadonlyArray<Network>, foreign: ReadonlyArray<Network>): void {
    this.tunnelNetworks = new NetworkSet(tunnel)
    this.proxyNetworks = new NetworkSet(proxy)
    this.foreignNetworks = new NetworkSet(foreign)
    this.policy.setRanges(tunnel, proxy)
    this.policy.setForeign(foreign)
  }

  isTunnel(address: Readonly<Words>): boolean {
    return this.tunnelNetworks.has(address)
  }

  isProxy(address: Readonly<Words>): boolean {
    return this.proxyNetworks.has(address)
  }

  /** Of the ranges, and not used by the host for something else: nothing of that kind comes from outside. */
  isInside(address: Readonly<Words>): boolean {
    return (this.isTunnel(address) || this.isProxy(address)) && !this.foreignNetworks.has(address)
  }

  isGateway(address: Readonly<Words>): boolean {
    return equal(address, this.gateway4) || equal(address, this.gateway6)
  }

  /** Whether policy, or a host without IPv6, keeps a client of the resource from the real address. */
  refuses(resource: ClientResource, real: Readonly<Words>): boolean {
    if (!this.wayOut6 && !isIpv4(real)) return true
    const refusal =
      resource.kind === "internet"
        ? this.policy.judgeForInternet(real, resource.optIns)
        : this.policy.judge(real, resource.optIns)
    return refusal !== undefined
  }

  /** The client's network resource that takes a packet: the first that lets it through and may lead there; see `Routes`. */
  route(client: ClientEntry, to: Readonly<Words>, protocol: number, port: number): number {
    for (let nth = 0; ; nth++) {
      const index = this.routes.choose(client.index, to, protocol, port, nth)
      if (index < 0) return nth === 0 ? index : refusedRoute
      const resource = client.resources.get(index)
      if (resource !== undefined && !this.refuses(resource, to)) return index
    }
  }

  /** Of the client's resources that cover the mapping, the first that lets such packets through, and leads to `to` if told. */
  admitting(
    client: ClientEntry,
    mapping: number,
    protocol: number,
    port: number,
    to?: Readonly<Words>
  ): ClientResource | undefined {
    const covering = this.translations.resourcesOf(mapping)
    for (let i = 0; i < covering.length; i++) {
      const resource = client.resources.get(covering[i]!)
      if (resource === undefined || !permits(resource.filters, protocol, port)) continue
      if (to === undefined || !this.refuses(resource, to)) return resource
    }
    return undefined
  }

  /** Tells main why a name should be looked up again. */
  suspect(mapping: number, cause: "Unmapped" | "Unanswered" | "Unreachable" | "Stale"): void {
    const name = this.mappings.name(mapping)
    if (name === undefined) return
    this.silence.reported(mapping)
    this.notices.traffic(this.translations.clientOf(mapping), mapping, name, cause, this.now)
  }

  /** The first reply since something was reported: main may forget its back-off for the name. */
  answered(mapping: number): void {
    const name = this.mappings.name(mapping)
    if (name === undefined) return
    this.notices.traffic(this.translations.clientOf(mapping), mapping, name, "Answered", this.now)
  }

  private removeMapping(mapping: number): void {
    const { clients, fragments, resources, translations } = this
    const client = translations.clientOf(mapping)
    this.endFlows(mapping)
    fragments.forgetClient(client)
    clients.get(client)?.mappings.delete(mapping)
    for (const resource of translations.resourcesOf(mapping)) resources.release(resource)
    translations.remove(mapping)
  }
}

// oxlint-disable-next-line typescript/no-unsafe-type-assertion -- one entry per reason, by construction
const refusalCounters = Object.fromEntries(
  refusalReasons.map((reason) => [reason, counterIndex[`outbound.${reason}`]])
) as Record<RefusalReason, number>

/** Mappings have numbers from 0 on. */
export const awaitedKey = (row: number): number => -1 - row

/** A table that keeps something by a client's or a mapping's number. */
interface Forgetful {
  readonly forgetClient?: (client: number) => unknown
  readonly forgetMapping?: (mapping: number) => unknown
  /** In its place, while the mapping's resource is gone. */
  readonly suspendMapping?: (mapping: number) => unknown
}

/** Until main has said what holds. */
const nothingSet: PacketPolicy = {
  end: "gateway",
  dnsPort: 53,
  controlMessages: false,
  unmapped: "prohibited",
  untranslatable: "prohibited",
  unknownFlows: "dropped",
  revokedMappings: "suspended"
}
