/**
 * A client's side of a portal session without IO, generation B (firezone-protocol §3.3, §8.2): messages, notices and
 * questions in, what has to be done out, in order. Flows are asked for when a name is asked for; networks at once.
 */
import { controlEvent } from "../control/firezone/inTunnel.ts"
import type { Outbound } from "../control/firezone/outbound.ts"
import { RelayTable } from "../control/firezone/relayTable.ts"
import type { Command } from "../dataplane/commands.ts"
import type { Notice } from "../dataplane/notices.ts"
import * as DomainPattern from "../model/DomainPattern.ts"
import { ResourceId } from "../model/Resource.ts"
import { readDomainStatus } from "./domainStatus.ts"
import type { ClientMessage, ClientResource, FlowCreated, Gateway, GatewayId } from "./portalMessages.ts"
import { ProxyPool } from "./ProxyPool.ts"

export type Action =
  | { readonly _tag: "Send"; readonly message: Outbound }
  | { readonly _tag: "Command"; readonly command: Command }
  /** This host's tunnel addresses, and the networks that it routes into the tunnel. */
  | {
      readonly _tag: "Configure"
      readonly tunnel4: string
      readonly tunnel6: string
      readonly networks: ReadonlyArray<string>
    }
  /** The gateway has the name: packets to its proxy IPs go through from now on. */
  | { readonly _tag: "Ready"; readonly domain: string }
  | { readonly _tag: "Log"; readonly message: string }
  | { readonly _tag: "End"; readonly reason: string }

/** What a question for a name under a resource is answered with. */
export interface NameAnswer {
  readonly proxyIps: ReadonlyArray<string>
  /** Whether the gateway has it; else `Ready` will tell. */
  readonly ready: boolean
  readonly actions: ReadonlyArray<Action>
}

/** Requests and `AssignedIps` are repeated no sooner (firezone-protocol §3.3, §8.2). */
export const repeatMs = 2_000
/** A name that nobody has asked for in this time is not pursued. */
const interestMs = 30_000
/** A portal that said no for now is asked again after this. */
const refusedMs = 10_000
export const maxNames = 4_096
const proxyNetworks = ["100.96.0.0/11", "fd00:2021:1111:8000::/107"]

interface ResourceEntry {
  readonly resource: ClientResource
  gateway: GatewayId | null
  /** A flow is to be asked for, not before then. */
  wanted: boolean
  askAt: number
}

interface GatewayEntry {
  readonly gateway: Gateway
  connected: boolean
}

interface Name {
  readonly domain: string
  readonly resource: ResourceId
  readonly proxyIps: ReadonlyArray<string>
  confirmed: boolean
  askedAt: number
  sentAt: number
}

export class ClientSession {
  private readonly relays = new RelayTable()
  private readonly pool = new ProxyPool()
  private readonly resources = new Map<string, ResourceEntry>()
  private readonly gateways = new Map<string, GatewayEntry>()
  private readonly names = new Map<string, Name>()
  private tunnel: { readonly tunnel4: string; readonly tunnel6: string } | null = null
  private actions: Array<Action> = []

  handle(message: ClientMessage, now: number): ReadonlyArray<Action> {
    switch (message._tag) {
      case "Init":
        this.init(message, now)
        break
      case "FlowCreated":
        this.flowCreated(message, now)
        break
      case "FlowFailed": {
        const entry = this.resources.get(message.resource)
        if (entry === undefined) break
        entry.wanted = entry.resource.kind === "cidr" && message.reason === "offline"
        entry.askAt = now + refusedMs
        this.log(`the portal gives no gateway for resource ${message.resource}: ${message.reason}`)
        break
      }
      case "Candidates":
      case "InvalidatedCandidates": {
        if (!this.gateways.has(message.gateway)) break
        const _tag = message._tag === "Candidates" ? "AddCandidate" : "RemoveCandidate"
        for (const candidate of message.candidates) this.command({ _tag, client: message.gateway, candidate })
        break
      }
      case "RelaysPresence": {
        const removed = this.relays.remove(message.disconnected)
        if (this.relays.upsert(message.connected) || removed) this.setRelays()
        break
      }
      case "ResourceChanged": {
        const known = this.resources.get(message.resource.id)
        if (known !== undefined && sameTarget(known.resource, message.resource)) break
        if (known !== undefined) this.removeResource(known)
        this.addResource(message.resource, now)
        this.configure()
        break
      }
      case "ResourceDeleted": {
        const known = this.resources.get(message.resource)
        if (known !== undefined) this.removeResource(known)
        this.configure()
        break
      }
      case "Disconnect":
        this.actions.push({ _tag: "End", reason: message.reason })
        break
    }
    return this.take()
  }

  /** A name that an application asks for; `null`: it is under no resource, or there is no room. */
  ask(question: string, now: number): NameAnswer | null {
    const domain = DomainPattern.canonicalDomain(question)
    if (domain === undefined) return null
    const name = this.names.get(domain) ?? this.addName(domain, now)
    if (name === undefined) return null
    name.askedAt = now
    const entry = this.resources.get(name.resource)
    if (entry?.gateway === null) this.want(entry, now)
    else this.assign(name, now)
    return { proxyIps: name.proxyIps, ready: name.confirmed, actions: this.take() }
  }

  /** What the data plane tells. */
  notice(notice: Notice, now: number): ReadonlyArray<Action> {
    switch (notice._tag) {
      case "CandidateFound":
        this.tellCandidate("broadcast_ice_candidates", notice.client, notice.candidate)
        break
      case "CandidateLost":
        this.tellCandidate("broadcast_invalidated_ice_candidates", notice.client, notice.candidate)
        break
      case "RelayLost":
        if (notice.left === 0) this.send({ event: "no_relays", payload: {} })
        break
      case "ConnectionLost":
        this.lose(notice.client, notice.reason, now)
        break
      case "ClientState": {
        const entry = this.gateways.get(notice.client)
        if (entry === undefined || entry.connected === notice.connected) break
        entry.connected = notice.connected
        this.log(`gateway ${notice.client}: ${notice.connected ? `connected, ${notice.path ?? "direct"}` : "silent"}`)
        if (notice.connected) this.assignAll(notice.client, now)
        break
      }
      case "Control":
        this.control(notice.client, notice.event, notice.payload, now)
        break
    }
    return this.take()
  }

  /** To be called about every 500 ms. */
  tick(now: number): ReadonlyArray<Action> {
    for (const entry of this.resources.values()) if (entry.wanted && now >= entry.askAt) this.want(entry, now)
    for (const name of this.names.values()) {
      if (!name.confirmed && now - name.askedAt < interestMs) this.assign(name, now)
    }
    return this.take()
  }

  /** This client leaves: its gateways are told. */
  goodbye(): ReadonlyArray<Action> {
    for (const { gateway } of this.gateways.values())
      this.sendControl(gateway.id, controlEvent.Goodbye, new Uint8Array())
    return this.take()
  }

  private init(init: Extract<ClientMessage, { _tag: "Init" }>, now: number): void {
    const { relays, resources, tunnel4, tunnel6 } = init
    this.tunnel = { tunnel4, tunnel6 }
    if (this.relays.upsert(relays)) this.setRelays()
    for (const [id, entry] of this.resources) {
      const listed = resources.find((resource) => resource.id === id)
      if (listed === undefined || !sameTarget(listed, entry.resource)) this.removeResource(entry)
    }
    for (const resource of resources) if (!this.resources.has(resource.id)) this.addResource(resource, now)
    this.configure()
  }

  private flowCreated({ gateway, resource }: FlowCreated, now: number): void {
    const entry = this.resources.get(resource)
    if (entry === undefined) return
    const known = this.gateways.get(gateway.id)
    if (known === undefined || JSON.stringify(known.gateway) !== JSON.stringify(gateway)) {
      this.gateways.set(gateway.id, { gateway, connected: false })
      this.command({
        _tag: "UpsertClient",
        client: gateway.id,
        publicKey: gateway.publicKey,
        presharedKey: gateway.presharedKey,
        tunnel4: gateway.tunnel4,
        tunnel6: gateway.tunnel6,
        endpoint: null,
        lastTai64n: null,
        keepalive: 0,
        initiate: true,
        ice: { local: gateway.local, remote: gateway.remote, role: "controlling" }
      })
      for (const address of [gateway.tunnel4, gateway.tunnel6]) this.route(gateway.id, address)
      // A new connection at the gateway does not know yet what the old one had been told.
      if (known !== undefined) for (const name of this.namesAt(gateway.id)) name.confirmed = false
    }
    entry.gateway = gateway.id
    entry.wanted = false
    if (entry.resource.kind === "cidr") this.route(gateway.id, entry.resource.network, entry.resource.id)
    for (const name of this.names.values()) {
      if (name.resource !== resource) continue
      this.routeName(gateway.id, name)
      name.confirmed = false
    }
    this.assignAll(gateway.id, now)
  }

  private control(gateway: GatewayId, event: number, payload: Uint8Array, now: number): void {
    if (event === controlEvent.Goodbye) return this.lose(gateway, "Goodbye", now)
    if (event !== controlEvent.DomainStatus) return
    const status = readDomainStatus(payload)
    const name = status === undefined ? undefined : this.names.get(status.domain.toLowerCase())
    const entry = name === undefined ? undefined : this.resources.get(name.resource)
    if (status === undefined || name === undefined || entry?.gateway !== gateway) return
    if (status.resource.toLowerCase() !== name.resource) return
    name.confirmed = status.active
    if (status.active) {
      this.actions.push({ _tag: "Ready", domain: name.domain })
      return
    }
    // Not authorized there any more: by another flow it may be.
    entry.gateway = null
    this.log(`gateway ${gateway} does not serve ${name.domain}`)
    this.want(entry, now)
  }

  /** The connection to a gateway is gone; what is still of interest is asked for anew. */
  private lose(id: GatewayId, reason: string, now: number): void {
    if (!this.gateways.delete(id)) return
    this.log(`gateway ${id} lost: ${reason}`)
    this.command({ _tag: "RemoveClient", client: id })
    for (const entry of this.resources.values()) {
      if (entry.gateway !== id) continue
      entry.gateway = null
      let interest = entry.resource.kind === "cidr"
      for (const name of this.names.values()) {
        if (name.resource !== entry.resource.id) continue
        name.confirmed = false
        interest ||= now - name.askedAt < interestMs
      }
      if (interest) this.want(entry, now)
    }
  }

  /** Asks the portal for a flow, now or when it may be asked again. */
  private want(entry: ResourceEntry, now: number): void {
    entry.wanted = true
    if (now < entry.askAt) return
    entry.askAt = now + repeatMs
    this.send({
      event: "create_flow",
      payload: { resource_id: entry.resource.id, connected_gateway_ids: [...this.gateways.keys()] }
    })
  }

  private addResource(resource: ClientResource, now: number): void {
    const entry: ResourceEntry = { resource, gateway: null, wanted: false, askAt: now }
    this.resources.set(resource.id, entry)
    if (resource.kind === "cidr") this.want(entry, now)
    if (resource.kind === "internet") this.log("the Internet resource is left alone: nothing is routed for it")
  }

  private removeResource({ gateway, resource }: ResourceEntry): void {
    this.resources.delete(resource.id)
    const routes = resource.kind === "cidr" ? [resource.id as string] : []
    for (const [domain, name] of this.names) {
      if (name.resource !== resource.id) continue
      this.names.delete(domain)
      routes.push(...name.proxyIps)
    }
    if (gateway === null) return
    for (const route of routes) {
      this.command({ _tag: "RevokeResource", client: gateway, resource: ResourceId.make(route) })
    }
  }

  private addName(domain: string, now: number): Name | undefined {
    const resource = this.resourceFor(domain)
    if (resource === undefined || this.names.size >= maxNames) return undefined
    const proxyIps = this.pool.take()
    if (proxyIps === undefined) return undefined
    const name: Name = {
      domain,
      resource,
      proxyIps,
      confirmed: false,
      askedAt: now,
      sentAt: Number.NEGATIVE_INFINITY
    }
    this.names.set(domain, name)
    const gateway = this.resources.get(resource)?.gateway ?? null
    if (gateway !== null) this.routeName(gateway, name)
    return name
  }

  /** The resource with the most specific pattern. */
  private resourceFor(domain: string): ResourceId | undefined {
    const found = [...this.resources.values()].flatMap(({ resource }) =>
      resource.kind === "dns" && DomainPattern.matches(resource.pattern, domain) ? [resource] : []
    )
    return found.sort((a, b) => DomainPattern.compareSpecificity(a.pattern, b.pattern))[0]?.id
  }

  private assignAll(gateway: GatewayId, now: number): void {
    for (const name of this.namesAt(gateway)) if (!name.confirmed) this.assign(name, now)
  }

  /** Tells the name's gateway its proxy IPs, if there is one to be told and it has not just been told. */
  private assign(name: Name, now: number): void {
    const gateway = this.resources.get(name.resource)?.gateway ?? null
    if (gateway === null || this.gateways.get(gateway)?.connected !== true || now - name.sentAt < repeatMs) return
    name.sentAt = now
    const content = { resource: name.resource, domain: name.domain, proxy_ips: name.proxyIps }
    this.sendControl(gateway, controlEvent.AssignedIps, new TextEncoder().encode(JSON.stringify(content)))
  }

  private namesAt(gateway: GatewayId): ReadonlyArray<Name> {
    return [...this.names.values()].filter((name) => this.resources.get(name.resource)?.gateway === gateway)
  }

  private routeName(gateway: GatewayId, name: Name): void {
    for (const address of name.proxyIps) this.route(gateway, address)
  }

  /** What goes to `network` goes to the gateway, and may come from there. */
  private route(gateway: GatewayId, network: string, id: string = network): void {
    this.command({
      _tag: "SetResource",
      client: gateway,
      resource: ResourceId.make(id),
      kind: "cidr",
      network,
      filters: [],
      allow: []
    })
  }

  private configure(): void {
    if (this.tunnel === null) return
    const networks = [...this.resources.values()].flatMap(({ resource }) =>
      resource.kind === "cidr" ? [resource.network] : []
    )
    this.actions.push({ _tag: "Configure", ...this.tunnel, networks: [...proxyNetworks, ...networks] })
  }

  private tellCandidate(event: string, gateway: GatewayId, candidate: string): void {
    if (!this.gateways.has(gateway)) return
    this.send({ event, payload: { gateway_ids: [gateway], candidates: [candidate] } })
  }

  private setRelays(): void {
    this.command({ _tag: "SetRelays", relays: this.relays.list })
  }

  private sendControl(gateway: GatewayId, event: number, payload: Uint8Array): void {
    this.command({ _tag: "SendControl", client: gateway, event, payload })
  }

  private command(command: Command): void {
    this.actions.push({ _tag: "Command", command })
  }

  private send(message: Outbound): void {
    this.actions.push({ _tag: "Send", message })
  }

  private log(message: string): void {
    this.actions.push({ _tag: "Log", message })
  }

  private take(): ReadonlyArray<Action> {
    const { actions } = this
    this.actions = []
    return actions
  }
}

const sameTarget = (a: ClientResource, b: ClientResource): boolean => JSON.stringify(a) === JSON.stringify(b)
