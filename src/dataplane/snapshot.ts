/**
 * The desired state of the packet path as main holds it: every command folded in by its key, and the list of commands
 * that brings a new worker to the same state. Pure; one owner (the `DataPlane` layer).
 */
import { parseCandidate } from "../ice/candidate.ts"
import type { ClientId } from "../model/Client.ts"
import type { MappingId } from "../model/Mapping.ts"
import type { ResourceId } from "../model/Resource.ts"
import { formatTransport } from "../packet/transportAddress.ts"
import type {
  Command,
  SetAddresses,
  SetHostCandidates,
  SetMapping,
  SetPolicy,
  SetRelays,
  SetResource,
  UpsertClient
} from "./commands.ts"
import type { ClientState } from "./notices.ts"

/** Clients heard of within this time are called by a new worker. */
const activeMs = 180_000
/** Candidates kept per client; the worker takes no more either. */
const mostCandidates = 64

interface MappingEntry {
  mapping: SetMapping
  /** The same without the proxies that other mappings took since. */
  effective: SetMapping
  addresses: SetAddresses | undefined
  lastTrafficAt: number
}

export class Snapshot {
  private policy: SetPolicy | undefined
  private relays: SetRelays | undefined
  private hosts: SetHostCandidates | undefined
  /** Of clients whose path ICE finds: what they told of theirs. */
  private readonly candidates = new Map<ClientId, Map<string, string>>()
  private readonly clients = new Map<ClientId, UpsertClient>()
  /** Preshared keys told after the one that the connection was made with. */
  private readonly laterKeys = new Map<ClientId, string | null>()
  private readonly resources = new Map<string, SetResource>()
  private readonly mappings = new Map<MappingId, MappingEntry>()
  /** Which mapping has a client's proxy. */
  private readonly owners = new Map<string, MappingEntry>()
  private readonly states = new Map<ClientId, ClientState>()

  apply(command: Command): void {
    switch (command._tag) {
      case "UpsertClient":
        return this.upsertClient(command)
      case "RemoveClient":
        this.clients.delete(command.client)
        this.laterKeys.delete(command.client)
        this.candidates.delete(command.client)
        this.states.delete(command.client)
        for (const [key, resource] of this.resources) {
          if (resource.client === command.client) this.resources.delete(key)
        }
        this.removeMappings((m) => m.client === command.client)
        return
      case "SetResource":
        if (!this.clients.has(command.client)) return
        this.resources.set(resourceKey(command.client, command.resource), command)
        return
      case "RevokeResource":
        this.resources.delete(resourceKey(command.client, command.resource))
        if (this.policy?.packets.revokedMappings !== "removed") this.suspendMappings(command.client, command.resource)
        else this.removeMappings((m) => m.client === command.client && m.resource === command.resource)
        return
      case "SetMapping": {
        if (!this.clients.has(command.client)) return
        const known = this.mappings.get(command.mapping)
        if (known !== undefined && !changes(known.mapping, command)) return
        if (known !== undefined) this.disown(known)
        this.own({ addresses: undefined, lastTrafficAt: 0, ...known, mapping: command, effective: command })
        return
      }
      case "SetAddresses": {
        const known = this.mappings.get(command.mapping)
        if (known !== undefined && (known.addresses === undefined || known.addresses.lookup <= command.lookup)) {
          known.addresses = command
        }
        return
      }
      case "RemoveMapping":
        this.removeMapping(command.mapping)
        return
      case "SetPolicy":
        this.policy = command
        return
      case "SetRelays":
        this.relays = command
        return
      case "SetHostCandidates":
        this.hosts = command
        return
      case "AddCandidate": {
        const known = this.candidates.get(command.client)
        const key = candidateKey(command.candidate)
        if (known !== undefined && (known.size < mostCandidates || known.has(key))) known.set(key, command.candidate)
        return
      }
      case "RemoveCandidate":
        this.candidates.get(command.client)?.delete(candidateKey(command.candidate))
        return
      case "SendControl":
      case "Stop":
        return
    }
  }

  /** The client's connection is gone: what it told of its candidates belongs to the past. */
  lost(client: ClientId): void {
    this.candidates.delete(client)
  }

  /** The worker's word on a client: kept for `status` and for the next worker. */
  observe(state: ClientState): void {
    if (this.clients.has(state.client)) this.states.set(state.client, state)
  }

  /** A new worker has no sessions. */
  disconnect(): void {
    for (const [client, state] of this.states) this.states.set(client, { ...state, connected: false })
  }

  traffic(mapping: MappingId, now: number): void {
    const known = this.mappings.get(mapping)
    if (known !== undefined) known.lastTrafficAt = now
  }

  get clientStates(): ReadonlyMap<ClientId, ClientState> {
    return this.states
  }

  /** Policy, clients and resources first, then mappings, those with recent traffic before the others. */
  replay(now: number): Array<Command> {
    const commands: Array<Command> = []
    if (this.policy !== undefined) commands.push(this.policy)
    if (this.hosts !== undefined) commands.push(this.hosts)
    if (this.relays !== undefined) commands.push(this.relays)
    for (const client of this.clients.values()) {
      const revived = this.revived(client, now)
      commands.push(revived)
      const presharedKey = this.laterKeys.get(client.client)
      if (presharedKey !== undefined) commands.push({ ...revived, presharedKey })
      for (const candidate of this.candidates.get(client.client)?.values() ?? []) {
        commands.push({ _tag: "AddCandidate", client: client.client, candidate })
      }
    }
    commands.push(...this.resources.values())
    const entries = [...this.mappings.values()].toSorted((a, b) => b.lastTrafficAt - a.lastTrafficAt)
    for (const { effective, addresses } of entries) {
      commands.push(effective)
      if (addresses !== undefined) commands.push(addresses)
    }
    return commands
  }

  private upsertClient(command: UpsertClient): void {
    const { client } = command
    const known = this.clients.get(client)
    const kept = known !== undefined && this.candidates.has(client) && sameConnection(known, command)
    // The last one to claim a key or an address has it, also after a replay.
    this.clients.delete(client)
    this.clients.set(client, kept ? { ...command, presharedKey: known.presharedKey } : command)
    if (kept && command.presharedKey !== known.presharedKey) this.laterKeys.set(client, command.presharedKey)
    if (kept) return
    this.laterKeys.delete(client)
    if ((command.ice ?? null) === null) this.candidates.delete(client)
    else this.candidates.set(client, new Map())
  }

  /** A proxy that another mapping has changes hands. */
  private own(entry: MappingEntry): void {
    const { client, mapping, proxyIps } = entry.mapping
    this.mappings.set(mapping, entry)
    for (const proxy of proxyIps) {
      const key = proxyKey(client, proxy)
      const robbed = this.owners.get(key)
      if (robbed !== undefined && robbed !== entry) {
        const { effective } = robbed
        robbed.effective = { ...effective, proxyIps: effective.proxyIps.filter((other) => other !== proxy) }
      }
      this.owners.set(key, entry)
    }
  }

  private disown(entry: MappingEntry): void {
    const { client, proxyIps } = entry.mapping
    for (const proxy of proxyIps) {
      const key = proxyKey(client, proxy)
      if (this.owners.get(key) === entry) this.owners.delete(key)
    }
  }

  private removeMapping(id: MappingId): void {
    const entry = this.mappings.get(id)
    if (entry === undefined) return
    this.disown(entry)
    this.mappings.delete(id)
  }

  private revived(client: UpsertClient, now: number): UpsertClient {
    const state = this.states.get(client.client)
    if (state === undefined) return client
    // What a relay was asked to pass on is asked for anew, and a channel of the last worker's has another number then.
    const reachable = state.path !== "relayed" && state.endpoint !== null
    return {
      ...client,
      endpoint: reachable ? state.endpoint : client.endpoint,
      lastTai64n: state.lastTai64n ?? client.lastTai64n,
      initiate: state.endpoint !== null && state.handshakeAt !== null && now - state.handshakeAt <= activeMs
    }
  }

  /** As the worker does it: what comes later for such a mapping is new. */
  private suspendMappings(client: ClientId, resource: ResourceId): void {
    for (const entry of this.mappings.values()) {
      if (entry.mapping.client !== client || entry.mapping.resource !== resource) continue
      entry.mapping = { ...entry.mapping, generation: 0 }
      entry.effective = { ...entry.effective, generation: 0 }
      entry.addresses = undefined
    }
  }

  private removeMappings(where: (mapping: SetMapping) => boolean): void {
    for (const [id, entry] of this.mappings) if (where(entry.mapping)) this.removeMapping(id)
  }
}

/** As the worker decides it: an older generation, or the same again, changes nothing. */
const changes = (known: SetMapping, next: SetMapping): boolean =>
  next.generation > known.generation ||
  (next.generation === known.generation && JSON.stringify(next) !== JSON.stringify(known))

/** As the worker decides it: a connection by ICE stays, whatever preshared key is told. */
const sameConnection = (known: UpsertClient, next: UpsertClient): boolean =>
  (next.ice ?? null) !== null &&
  JSON.stringify(next.ice) === JSON.stringify(known.ice) &&
  next.publicKey === known.publicKey &&
  next.tunnel4 === known.tunnel4 &&
  next.tunnel6 === known.tunnel6

/** As the worker knows them: by kind and address, since one may be taken back with another priority. */
const candidateKey = (text: string): string => {
  const candidate = parseCandidate(text)?.candidate
  return candidate === undefined ? text : `${candidate.kind} ${formatTransport(candidate.address)}`
}

const proxyKey = (client: string, proxy: string): string => `${proxy} ${client}`

const resourceKey = (client: string, resource: string): string => JSON.stringify([client, resource])
