/**
 * The gateway's side of a portal session without IO: a message in, what has to be done out, in order. Replies belong to
 * the action they answer; nothing in here waits for anything (docs/portal-protocol.md, "Access requests").
 */
import type { ListedAuthorization } from "../../access/Authorizations.ts"
import type { Command } from "../../dataplane/commands.ts"
import type { AccessRequest, IceCredentials } from "../../model/AccessRequest.ts"
import type { Client, ClientId } from "../../model/Client.ts"
import type { Resource, ResourceId } from "../../model/Resource.ts"
import { EarlyRequests } from "./earlyRequests.ts"
import type { AllowAccess, AuthorizeFlow, Init, NameRequest, PortalMessage, RequestConnection } from "./messages.ts"
import * as pushes from "./pushes.ts"
import { RelayTable } from "./relayTable.ts"

export type Action =
  /** The gateway's own tunnel addresses. */
  | { readonly _tag: "Configure"; readonly tunnel4: string; readonly tunnel6: string }
  /** For the data plane as it is. */
  | Extract<Command, { readonly _tag: "SetRelays" | "AddCandidate" | "RemoveCandidate" }>
  /** Pairs that are not listed are revoked; the others get their expiry. */
  | { readonly _tag: "Reconcile"; readonly authorizations: ReadonlyArray<ListedAuthorization> }
  /** To be accepted, and answered with `reply` in the same turn. */
  | {
      readonly _tag: "Accept"
      readonly request: AccessRequest
      /** `ours`: the credentials of our side of the connection. */
      readonly reply: (ours: IceCredentials) => pushes.Push | null
    }
  | { readonly _tag: "Send"; readonly message: pushes.Push }
  | { readonly _tag: "Revoke"; readonly client: ClientId; readonly resource: ResourceId }
  | { readonly _tag: "UpdateResource"; readonly resource: Resource }
  | { readonly _tag: "SetExpiry"; readonly grant: ListedAuthorization }
  | { readonly _tag: "Warn"; readonly message: string }
  /** The portal does not want this gateway any more. */
  | { readonly _tag: "End"; readonly reason: string }

/** Asking more often would not help a portal that has none. */
const askRelaysMs = 10_000

export class Session {
  private readonly relays = new RelayTable()
  private readonly early = new EarlyRequests()
  private readonly accepted = new Map<ClientId, Client>()
  /** What the portal listed last, by client: resource and expiry. A process that starts anew holds none of it yet. */
  private readonly listed = new Map<ClientId, Map<ResourceId, number | null>>()
  private askedRelaysAt = Number.NEGATIVE_INFINITY
  private warnedOfOldClients = false

  /** As they were accepted last, until their last authorization has ended. */
  get clients(): ReadonlyMap<ClientId, Client> {
    return this.accepted
  }

  /** A request was granted. */
  accept(client: Client): void {
    this.accepted.set(client.id, client)
  }

  /** The client's last authorization has ended. */
  dismiss(client: ClientId): void {
    this.accepted.delete(client)
  }

  /** Whether the portal lists the pair, be the authorization known here or not. `date`: epoch milliseconds. */
  lists(client: ClientId, resource: ResourceId, date: number): boolean {
    const expiresAt = this.listed.get(client)?.get(resource)
    return expiresAt === null || (expiresAt !== undefined && expiresAt > date)
  }

  /** `now`: monotonic milliseconds. */
  handle(message: PortalMessage, now: number): ReadonlyArray<Action> {
    switch (message._tag) {
      case "Init":
        return this.init(message, now)
      case "RelaysPresence": {
        const removed = this.relays.remove(message.disconnected)
        const added = this.relays.upsert(message.connected)
        return [...(removed || added ? [this.setRelays()] : []), ...this.askForRelays(now)]
      }
      case "RequestConnection":
        return this.requestConnection(message, now)
      case "AllowAccess":
        return this.allowAccess(message)
      case "AuthorizeFlow":
        return [this.authorizeFlow(message), ...this.askForRelays(now)]
      case "Candidates":
      case "InvalidatedCandidates": {
        const { client, candidates } = message
        if (!this.accepted.has(client)) return []
        const _tag = message._tag === "Candidates" ? "AddCandidate" : "RemoveCandidate"
        return candidates.map((candidate) => ({ _tag, client, candidate }))
      }
      case "RejectAccess":
        this.early.reject(message.client, message.resource)
        this.listed.get(message.client)?.delete(message.resource)
        return [{ _tag: "Revoke", client: message.client, resource: message.resource }]
      case "ResourceUpdated":
        this.early.update(message.resource)
        return [{ _tag: "UpdateResource", resource: message.resource }]
      case "ExpiryUpdated": {
        const { client, resource, expiresAt } = message
        this.early.setExpiry(message)
        const listed = this.listed.get(client)
        if (listed?.has(resource) === true) listed.set(resource, expiresAt)
        return [{ _tag: "SetExpiry", grant: { client, resource, expiresAt } }]
      }
      case "Disconnect":
        return [{ _tag: "End", reason: message.reason }]
    }
  }

  /** The gateway has no working relay left (or `left` of them). */
  relayLost(left: number, now: number): ReadonlyArray<Action> {
    return left > 0 ? [] : this.ask(now)
  }

  private init(init: Init, now: number): ReadonlyArray<Action> {
    const { tunnel4, tunnel6, relays, authorizations } = init
    this.relays.upsert(relays)
    const reconcile: Array<Action> = []
    this.listed.clear()
    if (authorizations !== null) {
      for (const { client, expiresAt, resource } of authorizations) {
        const resources = this.listed.get(client)
        if (resources === undefined) this.listed.set(client, new Map([[resource, expiresAt]]))
        else resources.set(resource, expiresAt)
      }
      this.early.keepOnly(authorizations)
      reconcile.push({ _tag: "Reconcile", authorizations })
    }
    return [{ _tag: "Configure", tunnel4, tunnel6 }, this.setRelays(), ...reconcile, ...this.askForRelays(now)]
  }

  private authorizeFlow(flow: AuthorizeFlow): Action {
    const { client, expiresAt, local, ref, remote, resource } = flow
    const reply = flow.generation === "B" ? pushes.flowAuthorized(ref) : pushes.authorizationCreated(ref)
    return {
      _tag: "Accept",
      request: { client, resource, expiresAt, name: null, credentials: local, remoteCredentials: remote },
      reply: () => reply
    }
  }

  private requestConnection(message: RequestConnection, now: number): ReadonlyArray<Action> {
    const { client, expiresAt, name, ref, remote, resource } = message
    // Portals of 2024 draw other credentials each time: known relays keep theirs.
    const more = this.relays.add(message.relays)
    const domain = name?._tag === "Question" ? name.domain : null
    return [
      ...(more ? [this.setRelays()] : []),
      {
        _tag: "Accept",
        request: { client, resource, expiresAt, name: assigned(name), credentials: null, remoteCredentials: remote },
        reply: (ours) => pushes.connectionAccepted(ref, ours, domain)
      },
      ...this.warnOfOldClient(domain),
      ...this.early.take(client.id).map((early) => this.allow(early, client, false)),
      ...this.askForRelays(now)
    ]
  }

  /** Before its `request_connection` the client is not known: the portal does not keep the order. */
  private allowAccess(message: AllowAccess): ReadonlyArray<Action> {
    const client = this.accepted.get(message.client)
    const domain = message.name?._tag === "Question" ? message.name.domain : null
    if (client !== undefined) return [this.allow(message, client, true), ...this.warnOfOldClient(domain)]
    this.early.add(message)
    const answer: Array<Action> =
      domain === null ? [] : [{ _tag: "Send", message: pushes.resourceAccepted(message.ref, domain) }]
    return [...answer, ...this.warnOfOldClient(domain)]
  }

  private allow({ expiresAt, name, ref, resource }: AllowAccess, client: Client, answer: boolean): Action {
    const domain = answer && name?._tag === "Question" ? name.domain : null
    return {
      _tag: "Accept",
      request: { client, resource, expiresAt, name: assigned(name), credentials: null },
      reply: () => (domain === null ? null : pushes.resourceAccepted(ref, domain))
    }
  }

  private warnOfOldClient(domain: string | null): ReadonlyArray<Action> {
    if (domain === null || this.warnedOfOldClients) return []
    this.warnedOfOldClients = true
    return [
      {
        _tag: "Warn",
        message:
          "a client of version 1.0 asks for the addresses of a name; it gets none: update it to 1.1 or later (said once)"
      }
    ]
  }

  private setRelays(): Action {
    return { _tag: "SetRelays", relays: this.relays.list }
  }

  private askForRelays(now: number): ReadonlyArray<Action> {
    return this.relays.size > 0 ? [] : this.ask(now)
  }

  private ask(now: number): ReadonlyArray<Action> {
    if (now - this.askedRelaysAt < askRelaysMs) return []
    this.askedRelaysAt = now
    return [{ _tag: "Send", message: pushes.noRelays }]
  }
}

const assigned = (name: NameRequest | null): AccessRequest["name"] =>
  name?._tag === "Assigned" ? { domain: name.domain, proxyIps: name.proxyIps } : null
