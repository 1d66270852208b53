/**
 * A client's side of a portal session without IO, of each generation (docs/portal-protocol.md, "The client's side"):
 * messages, notices and questions in, what has to be done out, in order. Flows are asked for when a name is asked for;
 * networks at once.
 */
import { controlEvent } from "../../control/firezone/inTunnel.ts"
import { RelayTable } from "../../control/firezone/relayTable.ts"
import type { Notice } from "../../dataplane/notices.ts"
import * as DomainPattern from "../../model/DomainPattern.ts"
import type { ResourceId } from "../../model/Resource.ts"
import { type Action, Actions, type NameAnswer } from "./actions.ts"
import { type ClientPushes, newPushes, oldPushes } from "./clientPushes.ts"
import { answerMs, ConnectionRequests, prepareConnection, reuseConnection } from "./ConnectionRequests.ts"
import { readDomainStatus } from "./domainStatus.ts"
import { connectGateway, route, unroute } from "./gatewayCommands.ts"
import { type Name, Names, untold } from "./Names.ts"
import type { ClientMessage, ClientResource, ConnectionAccepted, Gateway, GatewayId } from "./portalMessages.ts"

/** Requests and `AssignedIps` are repeated no sooner. */
const repeatMs = 2_000
/** A name that nobody has asked for in this time is not pursued. */
const interestMs = 30_000
/** A portal that said no for now is asked again after this. */
const refusedMs = 10_000
/** The networks of the Internet resource in `Configure`. */
export const everything: ReadonlyArray<string> = ["0.0.0.0/0", "::/0"]
const proxyNetworks = ["100.96.0.0/11", "fd00:2021:1111:8000::/107"]

interface ResourceEntry {
  readonly resource: ClientResource
  gateway: GatewayId | null
  /** Who its packets go to, also while we ask anew; `null` for names. */
  routedTo: GatewayId | null
  /** A flow is to be asked for, not before then. */
  wanted: boolean
  askAt: number
  prohibitedAt: number
}

interface GatewayEntry {
  readonly gateway: Gateway
  connected: boolean
}

export interface ClientSessionOptions {
  /** Default B. */
  readonly generation?: "A" | "B" | "C"
  /** Generation A draws keys and credentials from it: it has to be cryptographically secure. */
  readonly random?: (length: number) => Uint8Array
  /** Whether the Internet resource is made use of: everything then goes through its gateway. Default false. */
  readonly internet?: boolean
}

export class ClientSession {
  private readonly relays = new RelayTable()
  private readonly resources = new Map<string, ResourceEntry>()
  private readonly gateways = new Map<GatewayId, GatewayEntry>()
  private readonly names = new Names()
  private readonly pushes: ClientPushes
  /** `null` but in generation A. */
  private readonly requests: ConnectionRequests | null
  private tunnel: { readonly tunnel4: string; readonly tunnel6: string } | null = null
  private readonly actions = new Actions()
  private readonly internet: boolean

  constructor({ generation = "B", internet = false, random }: ClientSessionOptions = {}) {
    this.internet = internet
    this.pushes = generation === "C" ? newPushes : oldPushes
    this.requests = generation === "A" && random !== undefined ? new ConnectionRequests(random) : null
  }

  /** The portal has answered the join. */
  joined(): ReadonlyArray<Action> {
    for (const push of this.pushes.joined) this.actions.send(push)
    return this.actions.take()
  }

  handle(message: ClientMessage, now: number): ReadonlyArray<Action> {
    switch (message._tag) {
      case "Init":
        this.init(message, now)
        break
      case "FlowCreated":
        this.connect(message.gateway)
        this.open(message.resource, message.gateway.id, now)
        break
      case "GatewayNamed":
        this.gatewayNamed(message.resource, message.gateway, now)
        break
      case "ConnectionAccepted":
        this.connectionAccepted(message, now)
        break
      case "FlowFailed": {
        this.requests?.refused(message.resource)
        const entry = this.resources.get(message.resource)
        if (entry === undefined) break
        if (this.requests !== null) this.close(entry)
        // A gateway that is away comes back: it is asked for as long as somebody wants to reach something there.
        entry.wanted = message.reason === "offline" && this.isOfInterest(entry, now)
        entry.askAt = now + (entry.wanted ? repeatMs : refusedMs)
        this.actions.log(`the portal gives no gateway for resource ${message.resource}: ${message.reason}`)
        break
      }
      case "Candidates":
        for (const candidate of message.candidates) {
          this.requests?.addCandidate(message.gateway, candidate)
          this.candidate("AddCandidate", message.gateway, candidate)
        }
        break
      case "InvalidatedCandidates":
        for (const candidate of message.candidates) {
          this.requests?.removeCandidate(message.gateway, candidate)
          this.candidate("RemoveCandidate", message.gateway, candidate)
        }
        break
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
        this.actions.add({ _tag: "End", reason: message.reason })
        break
    }
    return this.actions.take()
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
    return { proxyIps: name.proxyIps, ready: name.confirmed, actions: this.actions.take() }
  }

  /** What the data plane tells. */
  notice(notice: Notice, now: number): ReadonlyArray<Action> {
    switch (notice._tag) {
      case "CandidateFound":
        this.tellCandidate("candidate", notice.client, notice.candidate)
        break
      case "CandidateLost":
        this.tellCandidate("invalidated", notice.client, notice.candidate)
        break
      case "RelayLost":
        if (notice.left === 0) this.actions.send({ event: "no_relays", payload: {} })
        break
      case "ConnectionLost":
        this.lose(notice.client, notice.reason, now)
        break
      case "ClientState": {
        const entry = this.gateways.get(notice.client)
        if (entry === undefined || entry.connected === notice.connected) break
        entry.connected = notice.connected
        this.actions.log(
          `gateway ${notice.client}: ${notice.connected ? `connected, ${notice.path ?? "direct"}` : "silent"}`
        )
        if (notice.connected) this.assignAll(notice.client, now)
        break
      }
      case "Control":
        this.control(notice.client, notice.event, notice.payload, now)
        break
      case "Prohibited":
        this.prohibited(notice.client, notice.resource, now)
        break
    }
    return this.actions.take()
  }

  /** To be called about every 500 ms. */
  tick(now: number): ReadonlyArray<Action> {
    for (const entry of this.resources.values()) if (entry.wanted && now >= entry.askAt) this.want(entry, now)
    for (const name of this.names.values()) {
      // A name that is asked for again may be authorized no more: only its gateway knows.
      const due = !name.confirmed || name.askedAt > name.sentAt
      if (due && now - name.askedAt < interestMs) this.assign(name, now)
    }
    return this.actions.take()
  }

  /** This client leaves: its gateways are told. */
  goodbye(): ReadonlyArray<Action> {
    for (const { gateway } of this.gateways.values())
      this.sendControl(gateway.id, controlEvent.Goodbye, new Uint8Array())
    return this.actions.take()
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

  /** Makes the connection to a gateway, unless it is there. */
  private connect(gateway: Gateway): void {
    const known = this.gateways.get(gateway.id)
    if (known !== undefined && JSON.stringify(known.gateway) === JSON.stringify(gateway)) return
    this.gateways.set(gateway.id, { gateway, connected: false })
    this.actions.command(connectGateway(gateway))
    for (const address of [gateway.tunnel4, gateway.tunnel6]) this.actions.command(route(gateway.id, address, address))
    // A new connection at the gateway does not know yet what the old one had been told.
    if (known !== undefined) for (const name of this.namesAt(gateway.id)) name.confirmed = false
  }

  /** The gateway serves the resource for us. */
  private open(resource: ResourceId, gateway: GatewayId, now: number): void {
    const entry = this.resources.get(resource)
    if (entry === undefined) return
    const known = entry.gateway === gateway
    entry.gateway = gateway
    entry.wanted = false
    entry.askAt = Math.min(entry.askAt, now + repeatMs)
    if (entry.resource.kind !== "dns") {
      this.unroute(entry, gateway)
      entry.routedTo = gateway
      const network = entry.resource.kind === "cidr" ? entry.resource.network : null
      this.actions.command(route(gateway, network, resource))
    }
    for (const name of this.names.of(resource)) {
      this.routeName(gateway, name)
      if (!known) name.confirmed = false
    }
    this.assignAll(gateway, now)
  }

  /** The gateway does not serve the resource any more. */
  private close(entry: ResourceEntry): void {
    entry.gateway = null
    for (const name of this.names.of(entry.resource.id)) untold(name)
  }

  /** Generation A: the portal says which gateway to ask. */
  private gatewayNamed(resource: ResourceId, gateway: GatewayId, now: number): void {
    const entry = this.resources.get(resource)
    if (this.requests === null || entry === undefined || entry.gateway !== null) return
    if (this.gateways.has(gateway)) {
      // Names are asked for one by one.
      if (entry.resource.kind !== "dns") this.actions.send(reuseConnection(gateway, resource, null))
      return this.open(resource, gateway, now)
    }
    const name = this.names
      .of(resource)
      .reduce<Name | null>((a, b) => (a === null || b.askedAt > a.askedAt ? b : a), null)
    if (entry.resource.kind === "dns" && name === null) return
    const request = this.requests.request(gateway, resource, name, now)
    if (request === undefined) return
    if (name !== null) name.sentAt = now
    entry.askAt = now + answerMs
    this.actions.send(request)
  }

  private connectionAccepted(accepted: ConnectionAccepted, now: number): void {
    const [gateway, candidates] = this.requests?.accept(accepted) ?? []
    if (gateway === undefined || candidates === undefined) return
    this.connect(gateway)
    for (const candidate of candidates) this.candidate("AddCandidate", gateway.id, candidate)
    this.open(accepted.resource, gateway.id, now)
    // What else is at that gateway had to wait for this.
    for (const entry of this.resources.values()) {
      if (!entry.wanted) continue
      entry.askAt = now
      this.want(entry, now)
    }
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
      this.actions.add({ _tag: "Ready", domain: name.domain })
      return
    }
    // Not authorized there any more: by another flow it may be.
    entry.gateway = null
    this.actions.log(`gateway ${gateway} does not serve ${name.domain}`)
    this.want(entry, now)
  }

  /**
   * The gateway does not let us to a resource, or lets us no more; `id` is that of what was routed there, a name's proxy IP
   * among them. A name that the gateway has confirmed is not announced to it again: it has to know it still.
   */
  private prohibited(gateway: GatewayId, id: ResourceId, now: number): void {
    const name = this.names.ofProxy(id)
    const entry = this.resources.get(name?.resource ?? id)
    if (entry?.gateway !== gateway || entry.wanted || (name !== undefined && this.requests !== null)) return
    if (name === undefined) entry.gateway = null
    this.actions.log(`gateway ${gateway} does not serve resource ${entry.resource.id}`)
    // Its port filters may be the cause: another flow changes nothing then.
    entry.askAt = Math.max(entry.askAt, entry.prohibitedAt + (name === undefined ? refusedMs : repeatMs))
    entry.prohibitedAt = now
    this.want(entry, now)
  }

  /** The connection to a gateway is gone; what is still of interest is asked for anew. */
  private lose(id: GatewayId, reason: string, now: number): void {
    if (!this.gateways.delete(id)) return
    this.actions.log(`gateway ${id} lost: ${reason}`)
    this.actions.command({ _tag: "RemoveClient", client: id })
    for (const entry of this.resources.values()) {
      if (entry.routedTo === id) entry.routedTo = null
      if (entry.gateway !== id) continue
      this.close(entry)
      if (this.isOfInterest(entry, now)) this.want(entry, now)
    }
  }

  private isOfInterest({ resource }: ResourceEntry, now: number): boolean {
    if (this.isRouted(resource)) return true
    return this.names.of(resource.id).some((name) => now - name.askedAt < interestMs)
  }

  /** Asks the portal for a flow, now or when it may be asked again. */
  private want(entry: ResourceEntry, now: number): void {
    entry.wanted = true
    if (now < entry.askAt) return
    entry.askAt = now + repeatMs
    const { id } = entry.resource
    const connected = [...this.gateways.keys()]
    this.actions.send(this.requests === null ? this.pushes.wanted(id, connected) : prepareConnection(id, connected))
  }

  private addResource(resource: ClientResource, now: number): void {
    const prohibitedAt = Number.NEGATIVE_INFINITY
    const entry: ResourceEntry = { resource, gateway: null, routedTo: null, wanted: false, askAt: now, prohibitedAt }
    this.resources.set(resource.id, entry)
    if (this.isRouted(resource)) this.want(entry, now)
    else if (resource.kind === "internet") this.actions.log("the Internet resource is not activated")
  }

  /** Takes the network from the gateway that its packets go to, unless it is this one. */
  private unroute({ resource, routedTo }: ResourceEntry, except: GatewayId | null): void {
    if (routedTo !== null && routedTo !== except) this.actions.command(unroute(routedTo, resource.id))
  }

  private removeResource(entry: ResourceEntry): void {
    const { gateway, resource } = entry
    this.resources.delete(resource.id)
    this.unroute(entry, null)
    for (const name of this.names.of(resource.id)) {
      this.names.remove(name)
      if (gateway !== null) for (const id of name.proxyIps) this.actions.command(unroute(gateway, id))
    }
  }

  private addName(domain: string, now: number): Name | undefined {
    const resource = this.resourceFor(domain)
    const name = resource === undefined ? undefined : this.names.add(domain, resource, now)
    if (resource === undefined || name === undefined) return undefined
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

  /**
   * Tells the name's gateway its proxy IPs, if there is one to be told and it has not just been told. In generation A
   * by way of the portal and without an answer.
   */
  private assign(name: Name, now: number): void {
    const gateway = this.resources.get(name.resource)?.gateway ?? null
    if (gateway === null || this.gateways.get(gateway)?.connected !== true) return
    const due = now - name.sentAt >= repeatMs
    if (due) name.sentAt = now
    if (this.requests === null) {
      if (due) this.sendControl(gateway, controlEvent.AssignedIps, assignedIps(name))
      return
    }
    if (due) this.actions.send(reuseConnection(gateway, name.resource, name))
    if (name.confirmed) return
    name.confirmed = true
    this.actions.add({ _tag: "Ready", domain: name.domain })
  }

  private namesAt(gateway: GatewayId): ReadonlyArray<Name> {
    return [...this.names.values()].filter((name) => this.resources.get(name.resource)?.gateway === gateway)
  }

  private routeName(gateway: GatewayId, name: Name): void {
    for (const address of name.proxyIps) this.actions.command(route(gateway, address, address))
  }

  private configure(): void {
    if (this.tunnel === null) return
    const networks = [...this.resources.values()].flatMap(({ resource }) =>
      resource.kind === "cidr" ? [resource.network] : this.isRouted(resource) ? everything : []
    )
    this.actions.add({ _tag: "Configure", ...this.tunnel, networks: [...proxyNetworks, ...networks] })
  }

  /** A network, or the Internet where it is wanted. */
  private isRouted({ kind }: ClientResource): boolean {
    return kind === "cidr" || (kind === "internet" && this.internet)
  }

  private candidate(_tag: "AddCandidate" | "RemoveCandidate", gateway: GatewayId, candidate: string): void {
    if (this.gateways.has(gateway)) this.actions.command({ _tag, client: gateway, candidate })
  }

  private tellCandidate(what: "candidate" | "invalidated", gateway: GatewayId, candidate: string): void {
    if (this.gateways.has(gateway)) this.actions.send(this.pushes[what](gateway, candidate))
  }

  private setRelays(): void {
    this.actions.command({ _tag: "SetRelays", relays: this.relays.list })
  }

  private sendControl(gateway: GatewayId, event: number, payload: Uint8Array): void {
    this.actions.command({ _tag: "SendControl", client: gateway, event, payload })
  }
}

const sameTarget = (a: ClientResource, b: ClientResource): boolean => JSON.stringify(a) === JSON.stringify(b)

const assignedIps = ({ domain, proxyIps, resource }: Name): Uint8Array =>
  new TextEncoder().encode(JSON.stringify({ resource, domain, proxy_ips: proxyIps }))
