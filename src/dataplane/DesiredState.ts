/**
 * The desired state of the packet path, decided: who owns a key, a tunnel address, a proxy IP; whether a connection is
 * the same one; which preshared key comes second; what a revocation leaves behind. Commands go in, orders for the worker
 * come out, and `replay` brings a new worker to where one is that lived through them all. Pure; one owner (the
 * `DataPlane` layer).
 */
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import { parseCandidate } from "../ice/candidate.ts"
import type { IceCredentials } from "../model/AccessRequest.ts"
import type { Client, ClientId } from "../model/Client.ts"
import type { MappingId } from "../model/Mapping.ts"
import type { ResourceId } from "../model/Resource.ts"
import { formatAddress, parseAddress, parseNetwork } from "../packet/address.ts"
import { formatTransport } from "../packet/transportAddress.ts"
import { millisOf, tai64nLength } from "../wireguard/tai64n.ts"
import { canonicalBase64, fromHex } from "./bytesText.ts"
import type {
  AddCandidate,
  Command,
  DisconnectClient,
  IceParameters,
  KnownEndpoint,
  SetAddresses,
  SetKeys,
  SetKnownEndpoints,
  SetMapping,
  SetPolicy,
  SetResource,
  UpsertClient
} from "./commands.ts"
import type { ClientState, ConnectionLost } from "./notices.ts"
import type { Order, PlaceClient, PlaceMapping } from "./orders.ts"

/** Clients heard of within this time are called by a new worker. */
const activeMs = 180_000
/** Told of in one command: the worker carries out one between two packets. */
export const mostKnownEndpoints = 500
/** Candidates kept per client. */
const mostCandidates = 64

interface ClientEntry {
  /** Its last order. */
  placed: PlaceClient
  /** Another one has its key or an address since. */
  disconnected: boolean
  /** Its connection by ICE was lost. */
  lost: boolean
  /** Of a connection by ICE: what the client told of its side, by kind and address. */
  readonly candidates: Map<string, AddCandidate>
  readonly resources: Map<ResourceId, SetResource>
  readonly mappings: Set<MappingEntry>
  /** Which of them owns a proxy IP. */
  readonly proxies: Map<string, MappingEntry>
  state: ClientState | undefined
  /** `placed` has what another gateway knows, and that is later than `state`. */
  told: boolean
}

interface MappingEntry {
  /** As it was told last. */
  wanted: SetMapping
  /** Without the proxies that other mappings took since. */
  placed: PlaceMapping
  /** Its resource was revoked: what is told next is new, and the same again is where it left off. */
  suspended: boolean
  addresses: SetAddresses | undefined
  lastTrafficAt: number
}

export class DesiredState {
  private policy: SetPolicy | undefined
  /** The last word about our keys, relays and this host, each said as a whole. */
  private readonly latest = new Map<Order["_tag"], Order>()
  private readonly entries = new Map<ClientId, ClientEntry>()
  /** Owners of public keys and tunnel addresses, by their canonical text. */
  private readonly owners = new Map<string, ClientEntry>()
  private readonly mappings = new Map<MappingId, MappingEntry>()
  /** What an operator should know of the commands so far; whoever tells it takes it out. */
  readonly faults: Array<string> = []
  private numbers = 0
  /** Candidates that were not taken, since their client had enough. */
  excessCandidates = 0

  /** What the worker has to do for it; nothing for what is known already, or is malformed (see `faults`). */
  apply(command: Command): ReadonlyArray<Order> {
    switch (command._tag) {
      case "UpsertClient":
        return this.upsertClient(command)
      case "RemoveClient":
        return this.removeClient(command.client)
      case "DisconnectClient":
        return this.disconnectClient(command)
      case "SetKnownEndpoints":
        return this.setKnownEndpoints(command)
      case "SetResource":
        return this.setResource(command)
      case "RevokeResource":
        return this.revokeResource(command.client, command.resource)
      case "SetMapping":
        return this.setMapping(command)
      case "SetAddresses":
        return this.setAddresses(command)
      case "RemoveMapping":
        return this.removeMapping(command.mapping)
      case "LapseMapping":
        return this.lapseMapping(command.mapping)
      case "SetPolicy":
        return this.setPolicy(command)
      case "SetKeys":
        return this.setKeys(command)
      case "SetSiblings":
      case "SetRelays":
      case "SetHostCandidates":
        this.latest.set(command._tag, command)
        return [command]
      case "AddCandidate":
        return this.addCandidate(command)
      case "RemoveCandidate":
        this.entries.get(command.client)?.candidates.delete(candidateKey(command.candidate))
        return [command]
      default:
        return [command]
    }
  }

  /** The worker's word. */
  observe(state: ClientState): void {
    const entry = this.entries.get(state.client)
    if (entry === undefined) return
    const { behindMs, client, lastTai64n } = state
    if (behindMs > 0 && (entry.state?.behindMs ?? 0) === 0) {
      const before = millisOf(fromHex(lastTai64n ?? "", tai64nLength) ?? new Uint8Array(tai64nLength))
      this.faults.push(
        `the clock of client ${client} was ahead, or is wrong now: a handshake of it was dated ${dateOf(before)}, the latest one ${dateOf(before - behindMs)}; it is served all the same, since it has proved to be there`
      )
    }
    entry.state = state
    entry.told &&= lacks(state, entry.placed)
  }

  /** A connection has ended for the worker; not so one that it is being told to begin anew. */
  lost({ client, order }: Pick<ConnectionLost, "client" | "order">): void {
    const entry = this.entries.get(client)
    if (entry === undefined || order < entry.placed.number) return
    entry.lost = true
    entry.candidates.clear()
  }

  /** A new worker has no sessions. */
  disconnect(): void {
    for (const entry of this.entries.values()) {
      if (entry.state !== undefined) entry.state = { ...entry.state, connected: false }
    }
  }

  traffic(mapping: MappingId, now: number): void {
    const entry = this.mappings.get(mapping)
    if (entry !== undefined) entry.lastTrafficAt = now
  }

  get clientStates(): ReadonlyMap<ClientId, ClientState> {
    const states = new Map<ClientId, ClientState>()
    for (const [client, { state }] of this.entries) if (state !== undefined) states.set(client, state)
    return states
  }

  has(client: ClientId): boolean {
    return this.entries.has(client)
  }

  /** The gateway's public key that each client has proved to know, the last one. */
  gatewayKeys(): ReadonlyMap<ClientId, string> {
    const keys = new Map<ClientId, string>()
    for (const [client, { placed, state }] of this.entries) {
      const key = state?.gatewayKey ?? placed.gatewayKey
      if (key !== null) keys.set(client, key)
    }
    return keys
  }

  /** As they were told last. */
  clients(): ReadonlyArray<Client> {
    return Array.from(this.entries.values(), clientOf)
  }

  /**
   * Our credentials of the connection by ICE that the client goes on with: the same keys, and the same credentials of its
   * own. `null`: there is none, or it was lost.
   */
  credentials(client: Client, remote: IceCredentials): IceCredentials | null {
    const entry = this.entries.get(client.id)
    if (entry === undefined || entry.lost) return null
    const { ice, publicKey } = entry.placed
    const sameKeys = publicKey === client.publicKey && clientOf(entry).presharedKey === client.presharedKey
    return ice !== null && sameKeys && sameCredentials(ice.remote, remote) ? ice.local : null
  }

  /** Policy, keys, clients and resources first, then mappings, those with recent traffic before the others. */
  replay(now: number): Array<Order> {
    const orders: Array<Order> = [...this.latest.values()]
    if (this.policy !== undefined) orders.unshift(this.policy)
    for (const [client, { candidates, disconnected, lost, placed, state, told }] of this.entries) {
      if (disconnected || lost) orders.push({ _tag: "DisconnectClient", client })
      else orders.push(revived(placed, told, state, now), ...candidates.values())
    }
    for (const { resources } of this.entries.values()) orders.push(...resources.values())
    const mappings = [...this.mappings.values()].toSorted((a, b) => b.lastTrafficAt - a.lastTrafficAt)
    for (const { addresses, placed } of mappings) {
      orders.push(placed)
      if (addresses !== undefined) orders.push(addresses)
    }
    return orders
  }

  /** Who claims a key or a tunnel address last has it; who had it is disconnected until it comes with its own. */
  private upsertClient(command: UpsertClient): ReadonlyArray<Order> {
    const known = this.entries.get(command.client)
    if (known !== undefined && saysNothingNew(known, command)) return []
    const placed = this.place(known, command)
    if (placed === undefined) {
      this.faults.push(`client ${command.client} was ignored: malformed key or address`)
      return []
    }
    const orders: Array<Order> = []
    if (known !== undefined) this.release(known)
    for (const key of ownedBy(placed)) {
      const robbed = this.owners.get(key)
      if (robbed === undefined) continue
      const { client } = robbed.placed
      this.release(robbed)
      robbed.disconnected = true
      orders.push({ _tag: "DisconnectClient", client })
      this.faults.push(`client ${client} was disconnected: its key or address belongs to client ${command.client} now`)
    }
    const kept = known?.placed.connection === placed.connection
    const entry: ClientEntry = {
      resources: new Map(),
      mappings: new Set(),
      proxies: new Map(),
      ...known,
      state: known?.placed.publicKey === placed.publicKey ? known.state : undefined,
      told: known?.placed.publicKey === placed.publicKey && known.told,
      candidates: kept ? known.candidates : new Map(),
      placed,
      disconnected: false,
      lost: false
    }
    this.entries.set(command.client, entry)
    for (const key of ownedBy(placed)) this.owners.set(key, entry)
    // A connection that the worker has lost meanwhile begins anew, and knows nothing of the client's side.
    return [...orders, placed, ...entry.candidates.values()]
  }

  /** What the command comes to; `undefined` when it is malformed. */
  private place(known: ClientEntry | undefined, command: UpsertClient): PlaceClient | undefined {
    const publicKey = canonicalBase64(command.publicKey, 32)
    const presharedKey = command.presharedKey === null ? null : canonicalBase64(command.presharedKey, 32)
    const tunnel4 = canonical(command.tunnel4)
    const tunnel6 = canonical(command.tunnel6)
    const gatewayKey = canonicalBase64(command.gatewayKey ?? "", 32) ?? null
    if (publicKey === undefined || presharedKey === undefined) return undefined
    if (tunnel4 === undefined || tunnel6 === undefined) return undefined
    const ice = command.ice ?? null
    const number = ++this.numbers
    const fresh: PlaceClient = {
      endpoint: null,
      local: null,
      lastTai64n: null,
      sentTick: 0,
      keepalive: 0,
      initiate: false,
      ...command,
      _tag: "PlaceClient",
      number,
      connection: number,
      flows: number,
      publicKey,
      presharedKey,
      laterPresharedKey: null,
      gatewayKey,
      tunnel4,
      tunnel6,
      ice
    }
    if (known === undefined) return fresh
    const { placed: before } = known
    const sameKey = before.publicKey === publicKey
    const { endpoint = before.endpoint, local = null } = command
    const { keepalive = before.keepalive } = command
    const lastTai64n = command.lastTai64n ?? latest(known.state?.lastTai64n ?? null, before.lastTai64n)
    const sentTick = Math.max(command.sentTick ?? 0, known.state?.sentTick ?? 0, before.sentTick)
    const restored = sameKey
      ? {
          ...fresh,
          endpoint,
          local: command.endpoint === undefined ? before.local : local,
          keepalive,
          lastTai64n,
          sentTick,
          gatewayKey: known.state?.gatewayKey ?? before.gatewayKey ?? gatewayKey
        }
      : fresh
    if (known.disconnected) return restored
    const sameAddresses = before.tunnel4 === tunnel4 && before.tunnel6 === tunnel6
    // One whose path ICE finds has another key each time that it starts, and its flows go on.
    const flows = sameAddresses && (sameKey || ice !== null) ? before.flows : number
    const flowing = { ...restored, flows }
    if (!sameKey) return flowing
    if (ice === null) {
      const kept = before.ice === null && before.presharedKey === presharedKey
      return { ...flowing, connection: kept ? before.connection : number }
    }
    if (!sameAddresses || known.lost || !sameParameters(before.ice, ice)) return flowing
    // It may get another preshared key with every request, and is asked which one it has.
    const later = presharedKey === before.presharedKey ? null : presharedKey
    const { connection } = before
    return { ...flowing, connection, presharedKey: before.presharedKey, laterPresharedKey: later }
  }

  private release(entry: ClientEntry): void {
    for (const key of ownedBy(entry.placed)) if (this.owners.get(key) === entry) this.owners.delete(key)
  }

  private removeClient(id: ClientId): ReadonlyArray<Order> {
    const entry = this.entries.get(id)
    if (entry === undefined) return []
    for (const mapping of entry.mappings) this.forgetMapping(mapping)
    this.release(entry)
    this.entries.delete(id)
    return [{ _tag: "RemoveClient", client: id }]
  }

  private disconnectClient(command: DisconnectClient): ReadonlyArray<Order> {
    const entry = this.entries.get(command.client)
    if (entry === undefined || entry.placed.ice === null) return []
    entry.lost = true
    entry.candidates.clear()
    return [command]
  }

  private setKnownEndpoints({ call, clients }: SetKnownEndpoints): ReadonlyArray<Order> {
    if (clients.length > mostKnownEndpoints) {
      this.faults.push(
        `${clients.length} endpoints were told at once: those behind the ${mostKnownEndpoints}th were ignored`
      )
    }
    const all = clients.slice(0, mostKnownEndpoints)
    const wellFormed = all.flatMap((known) => canonicalEndpoint(known) ?? [])
    if (wellFormed.length < all.length) {
      this.faults.push(`${all.length - wellFormed.length} endpoints at other gateways were ignored: malformed`)
    }
    const taken = wellFormed.filter((known) => this.takeEndpoint(known, call))
    return taken.length === 0 ? [] : [{ _tag: "SetKnownEndpoints", call, clients: taken }]
  }

  /** Whether it is news of a client that may be called at an endpoint. */
  private takeEndpoint(known: KnownEndpoint, call: boolean): boolean {
    const entry = this.entries.get(known.client)
    if (entry === undefined || entry.disconnected || entry.placed.ice !== null) return false
    const { placed, state } = entry
    // It has been here since.
    if (isBefore(known, placed) || (state !== undefined && isBefore(known, state))) return false
    entry.placed = {
      ...placed,
      ...known,
      lastTai64n: latest(known.lastTai64n, placed.lastTai64n),
      sentTick: Math.max(known.sentTick, placed.sentTick),
      initiate: call
    }
    entry.told = true
    return true
  }

  private setResource(command: SetResource): ReadonlyArray<Order> {
    const entry = this.entries.get(command.client)
    if (entry === undefined) return []
    const { kind, network } = command
    if ((network !== null && parseNetwork(network) === undefined) || (kind === "cidr" && network === null)) {
      this.faults.push(`resource ${command.resource} was ignored: malformed network`)
      return []
    }
    const known = entry.resources.get(command.resource)
    if (known !== undefined && JSON.stringify(known) === JSON.stringify(command)) return []
    entry.resources.set(command.resource, command)
    return [command]
  }

  private revokeResource(client: ClientId, resource: ResourceId): ReadonlyArray<Order> {
    const entry = this.entries.get(client)
    if (entry === undefined) return []
    const orders: Array<Order> = []
    if (entry.resources.delete(resource)) orders.push({ _tag: "RevokeResource", client, resource })
    for (const mapping of entry.mappings) {
      const { resources } = mapping.wanted
      if (mapping.suspended || !resources.includes(resource) || resources.some((id) => entry.resources.has(id)))
        continue
      mapping.suspended = true
      mapping.addresses = undefined
      orders.push({ _tag: "SuspendMapping", mapping: mapping.wanted.mapping })
    }
    return orders
  }

  /** Its flows end in any case. */
  private lapseMapping(id: MappingId): ReadonlyArray<Order> {
    const entry = this.mappings.get(id)
    if (entry?.suspended !== true) return []
    if (this.policy?.packets.revokedMappings === "removed") return this.removeMapping(id)
    entry.placed = { ...entry.placed, version: ++this.numbers }
    return [entry.placed]
  }

  /** A proxy that another mapping of the client has changes hands. */
  private setMapping(command: SetMapping): ReadonlyArray<Order> {
    const client = this.entries.get(command.client)
    if (client === undefined) return []
    const known = this.mappings.get(command.mapping)
    if (known !== undefined && !known.suspended && !changes(known.wanted, command)) return []
    const goesOn = known?.suspended === true ? isPlacedAs(known.placed, command) : coversAnew(known?.wanted, command)
    if (known !== undefined && goesOn) {
      const covers = sameTexts(known.placed.resources, command.resources)
      known.wanted = command
      known.suspended = false
      if (covers) return []
      known.placed = { ...known.placed, resources: command.resources }
      return [known.placed]
    }
    if (known !== undefined) this.releaseProxies(known)
    const placed: PlaceMapping = {
      _tag: "PlaceMapping",
      mapping: command.mapping,
      client: command.client,
      resources: command.resources,
      proxyIps: command.proxyIps,
      version: ++this.numbers
    }
    const entry: MappingEntry = {
      addresses: undefined,
      lastTrafficAt: 0,
      ...known,
      wanted: command,
      placed,
      suspended: false
    }
    this.mappings.set(command.mapping, entry)
    client.mappings.add(entry)
    const robbed = new Set<MappingEntry>()
    for (const proxy of command.proxyIps) {
      const holder = client.proxies.get(proxy)
      client.proxies.set(proxy, entry)
      if (holder === undefined || holder === entry) continue
      robbed.add(holder)
      const left = holder.placed.proxyIps.filter((other) => other !== proxy)
      holder.placed = { ...holder.placed, proxyIps: left, version: ++this.numbers }
    }
    return [...Array.from(robbed, (holder) => holder.placed), placed]
  }

  private setAddresses(command: SetAddresses): ReadonlyArray<Order> {
    const entry = this.mappings.get(command.mapping)
    if (entry === undefined || (entry.addresses !== undefined && entry.addresses.lookup > command.lookup)) return []
    entry.addresses = command
    return [command]
  }

  private removeMapping(id: MappingId): ReadonlyArray<Order> {
    const entry = this.mappings.get(id)
    if (entry === undefined) return []
    this.forgetMapping(entry)
    return [{ _tag: "RemoveMapping", mapping: id }]
  }

  private forgetMapping(entry: MappingEntry): void {
    this.releaseProxies(entry)
    this.mappings.delete(entry.wanted.mapping)
  }

  private releaseProxies(entry: MappingEntry): void {
    const { client, proxyIps } = entry.placed
    const owner = this.entries.get(client)
    for (const proxy of proxyIps) owner?.proxies.delete(proxy)
    owner?.mappings.delete(entry)
  }

  private setPolicy(command: SetPolicy): ReadonlyArray<Order> {
    const { foreignNetworks, gateway4, gateway6, proxyNetworks, tunnelNetworks } = command
    const networks = [...tunnelNetworks, ...proxyNetworks, ...foreignNetworks]
    if (
      [gateway4, gateway6].some((text) => parseAddress(text) === undefined) ||
      networks.some((text) => parseNetwork(text) === undefined)
    ) {
      this.faults.push("a policy was ignored: malformed address")
      return []
    }
    this.policy = command
    return [command]
  }

  private setKeys(command: SetKeys): ReadonlyArray<Order> {
    const { endingKey, privateKey } = command
    if ([privateKey, endingKey].some((key) => key !== null && canonicalBase64(key, 32) === undefined)) {
      this.faults.push("the gateway's keys were ignored: malformed key")
      return []
    }
    this.latest.set(command._tag, command)
    return [command]
  }

  /** The worker judges each; how many are enough is decided here, and which ones the next worker gets. */
  private addCandidate(command: AddCandidate): ReadonlyArray<Order> {
    const entry = this.entries.get(command.client)
    const parsed = parseCandidate(command.candidate)
    const ice = entry === undefined || entry.disconnected ? null : entry.placed.ice
    const foreign = parsed !== undefined && parsed.ufrag !== null && parsed.ufrag !== ice?.remote.username
    if (entry === undefined || ice === null || entry.lost || parsed === undefined || foreign) return [command]
    const key = candidateKey(command.candidate)
    if (entry.candidates.size >= mostCandidates && !entry.candidates.has(key)) {
      this.excessCandidates++
      return []
    }
    entry.candidates.set(key, command)
    return [command]
  }
}

const canonicalEndpoint = (known: KnownEndpoint): KnownEndpoint | undefined => {
  const { client, endpoint, lastTai64n, sentTick } = known
  const address = canonical(endpoint.address)
  const local = known.local === null ? null : canonical(known.local)
  const isLabel = lastTai64n === null || fromHex(lastTai64n, tai64nLength) !== undefined
  const areNumbers = isIn(endpoint.port, 1, 65_535) && isIn(sentTick, 0, Number.MAX_SAFE_INTEGER)
  if (address === undefined || local === undefined || !isLabel || !areNumbers) return undefined
  const label = lastTai64n === null ? null : lastTai64n.toLowerCase()
  return { client, endpoint: { address, port: endpoint.port }, local, lastTai64n: label, sentTick }
}

const isIn = (n: number, least: number, most: number): boolean => Number.isInteger(n) && n >= least && n <= most

type Stamps = Pick<KnownEndpoint, "lastTai64n" | "sentTick">

/** Whether a handshake with the client, of either side's, is known here and not there. */
const lacks = (there: Stamps, here: Stamps): boolean =>
  there.sentTick < here.sentTick || (there.lastTai64n ?? "") < (here.lastTai64n ?? "")

const isBefore = (there: Stamps, here: Stamps): boolean => lacks(there, here) && !lacks(here, there)

/** Of two TAI64N labels in hexadecimal digits. */
const latest = (a: string | null, b: string | null): string | null => ((a ?? "") > (b ?? "") ? a : b)

/** Clients may stamp with what no calendar has. */
const dateOf = (epochMs: number): string =>
  Option.match(DateTime.make(epochMs), { onNone: () => "a time beyond all dates", onSome: DateTime.formatIso })

const clientOf = ({ placed }: ClientEntry): Client => ({
  id: placed.client,
  publicKey: placed.publicKey,
  presharedKey: placed.laterPresharedKey ?? placed.presharedKey,
  tunnel4: placed.tunnel4,
  tunnel6: placed.tunnel6
})

/**
 * Whether a request says nothing new of a client that is there. One by ICE always does: it is told our candidates again.
 * So does one from before a restart.
 */
const saysNothingNew = (known: ClientEntry, command: UpsertClient): boolean => {
  const { presharedKey, publicKey, tunnel4, tunnel6 } = clientOf(known)
  return (
    (command.ice ?? null) === null &&
    command.endpoint === undefined &&
    publicKey === command.publicKey &&
    presharedKey === command.presharedKey &&
    tunnel4 === command.tunnel4 &&
    tunnel6 === command.tunnel6
  )
}

const revived = (client: PlaceClient, told: boolean, state: ClientState | undefined, now: number): PlaceClient => {
  if (state === undefined) return client
  const known = {
    ...client,
    lastTai64n: latest(state.lastTai64n, client.lastTai64n),
    sentTick: Math.max(state.sentTick, client.sentTick),
    gatewayKey: state.gatewayKey ?? client.gatewayKey
  }
  if (told) return known
  // What a relay was asked to pass on is asked for anew, and a channel of the last worker's has another number then.
  const reachable = state.path !== "relayed" && state.endpoint !== null
  return {
    ...known,
    endpoint: reachable ? state.endpoint : client.endpoint,
    local: reachable ? state.local : client.local,
    initiate: state.endpoint !== null && state.handshakeAt !== null && now - state.handshakeAt <= activeMs
  }
}

/** An older generation, or the same again, changes nothing. */
const changes = (known: SetMapping, next: SetMapping): boolean =>
  next.generation > known.generation ||
  (next.generation === known.generation && JSON.stringify(next) !== JSON.stringify(known))

/** Whether the worker has the mapping with the proxies that are told again: its flows, those that wait as well, are its own. */
const isPlacedAs = (placed: PlaceMapping, { client, proxyIps }: SetMapping): boolean =>
  placed.client === client && sameTexts(placed.proxyIps, proxyIps)

/** Whether only the resources are others. */
const coversAnew = (known: SetMapping | undefined, next: SetMapping): boolean =>
  known?.generation === next.generation && next.client === known.client && sameTexts(next.proxyIps, known.proxyIps)

const sameTexts = (a: ReadonlyArray<string>, b: ReadonlyArray<string>): boolean =>
  a.length === b.length && a.every((text, i) => text === b[i])

const sameParameters = (a: IceParameters | null, b: IceParameters): boolean =>
  a !== null && a.role === b.role && sameCredentials(a.local, b.local) && sameCredentials(a.remote, b.remote)

const sameCredentials = (a: IceCredentials, b: IceCredentials): boolean =>
  a.username === b.username && a.password === b.password

const ownedBy = ({ publicKey, tunnel4, tunnel6 }: PlaceClient): ReadonlyArray<string> => [publicKey, tunnel4, tunnel6]

const canonical = (address: string): string | undefined => {
  const parsed = parseAddress(address)
  return parsed === undefined ? undefined : formatAddress(parsed)
}

/** By kind and address, since a candidate may be taken back with another priority than it was told with. */
const candidateKey = (text: string): string => {
  const candidate = parseCandidate(text)?.candidate
  return candidate === undefined ? text : `${candidate.kind} ${formatTransport(candidate.address)}`
}
