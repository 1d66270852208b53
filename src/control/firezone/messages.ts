/**
 * The portal's messages of all three generations as this gateway understands them: decoded once, in the model's terms.
 * A message that cannot be understood is a value, never an error: it is skipped.
 */
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import type * as SchemaIssue from "effect/SchemaIssue"
import * as SchemaParser from "effect/SchemaParser"
import type { ListedAuthorization } from "../../access/Authorizations.ts"
import type { IceCredentials } from "../../model/AccessRequest.ts"
import { type Client, ClientId } from "../../model/Client.ts"
import type { PortFilter } from "../../model/PortFilter.ts"
import { type Relay, RelayId } from "../../model/Relay.ts"
import { type Resource, ResourceId } from "../../model/Resource.ts"
import { formatAddress, formatNetwork, mask, parseAddress, parseNetwork } from "../../packet/address.ts"
import { parseHostPort } from "./hostPort.ts"
import * as wire from "./wire.ts"

/** What a client of generation A says about a name. */
export type NameRequest =
  | { readonly _tag: "Assigned"; readonly domain: string; readonly proxyIps: ReadonlyArray<string> }
  /** Clients up to 1.0 want the addresses themselves. */
  | { readonly _tag: "Question"; readonly domain: string }

export interface Init {
  readonly _tag: "Init"
  readonly tunnel4: string
  readonly tunnel6: string
  readonly relays: ReadonlyArray<Relay>
  /** `null`: the portal does not list them, so nothing is revoked. */
  readonly authorizations: ReadonlyArray<ListedAuthorization> | null
}

export interface RelaysPresence {
  readonly _tag: "RelaysPresence"
  readonly disconnected: ReadonlyArray<RelayId>
  readonly connected: ReadonlyArray<Relay>
}

/** Generation A: the first resource of a client without a connection. */
export interface RequestConnection {
  readonly _tag: "RequestConnection"
  readonly ref: string
  readonly client: Client
  readonly remote: IceCredentials
  readonly resource: Resource
  readonly name: NameRequest | null
  readonly expiresAt: number | null
  readonly relays: ReadonlyArray<Relay>
}

/** Generation A: one more resource or name. */
export interface AllowAccess {
  readonly _tag: "AllowAccess"
  readonly ref: string
  readonly client: ClientId
  readonly resource: Resource
  readonly name: NameRequest | null
  readonly expiresAt: number | null
}

/** Generations B and C, which differ in the name of the reply. */
export interface AuthorizeFlow {
  readonly _tag: "AuthorizeFlow"
  readonly generation: "B" | "C"
  readonly ref: string
  readonly client: Client
  readonly local: IceCredentials
  readonly remote: IceCredentials
  readonly resource: Resource
  readonly expiresAt: number | null
}

export interface Disconnect {
  readonly _tag: "Disconnect"
  readonly reason: string
}

export type PortalMessage =
  | Init
  | RelaysPresence
  | RequestConnection
  | AllowAccess
  | AuthorizeFlow
  | {
      readonly _tag: "Candidates" | "InvalidatedCandidates"
      readonly client: ClientId
      readonly candidates: ReadonlyArray<string>
    }
  | { readonly _tag: "RejectAccess"; readonly client: ClientId; readonly resource: ResourceId }
  | { readonly _tag: "ResourceUpdated"; readonly resource: Resource }
  | (ListedAuthorization & { readonly _tag: "ExpiryUpdated" })
  | Disconnect

export type Decoded<A = PortalMessage> =
  | { readonly _tag: "Message"; readonly message: A; readonly skipped: number }
  | { readonly _tag: "Unknown" }
  /** `problem` names the place, never what stood there: it may be a secret. */
  | { readonly _tag: "Malformed"; readonly problem: string }

export const decodeMessage = (event: string, payload: unknown): Decoded => decodeBy(decoders, event, payload)

/** `skipped` counts relays and candidates of a kind unknown here, which do not cost the rest of their message. */
export const decodeBy = <A>(
  decoders: Readonly<Record<string, Decode<A>>>,
  event: string,
  payload: unknown
): Decoded<A> => {
  const decoder = Object.hasOwn(decoders, event) ? decoders[event] : undefined
  if (decoder === undefined) return { _tag: "Unknown" }
  const notes = { skipped: 0 }
  const decoded = decoder(payload, notes)
  return Result.isSuccess(decoded)
    ? { _tag: "Message", message: decoded.success, skipped: notes.skipped }
    : { _tag: "Malformed", problem: decoded.failure }
}

export interface Notes {
  skipped: number
}

export type Decode<A> = (payload: unknown, notes: Notes) => Result.Result<A, string>

export const message = <S extends Schema.ConstraintDecoder<unknown>, A>(
  schema: S,
  build: (wire: S["Type"], notes: Notes) => Result.Result<A, string>
): Decode<A> => {
  const decode = SchemaParser.decodeUnknownResult(schema)
  return (payload, notes) => {
    const decoded = decode(payload)
    return Result.isFailure(decoded) ? Result.fail(placeOf(decoded.failure)) : build(decoded.success, notes)
  }
}

/** A message whose shape is all there is to check. */
export const plain = <S extends Schema.ConstraintDecoder<unknown>, A>(
  schema: S,
  build: (wire: S["Type"], notes: Notes) => A
): Decode<A> => message(schema, (wire, notes) => Result.succeed(build(wire, notes)))

const clientId = (uuid: string): ClientId => ClientId.make(uuid.toLowerCase())
export const resourceId = (uuid: string): ResourceId => ResourceId.make(uuid.toLowerCase())
const millis = (seconds: number | null | undefined): number | null =>
  seconds === null || seconds === undefined ? null : Math.round(seconds * 1_000)
export const canonical = (address: string): string => formatAddress(parseAddress(address)!)

const decodeTurn = SchemaParser.decodeUnknownResult(wire.TurnRelay)
const decodeCandidate = SchemaParser.decodeUnknownResult(wire.Candidate)

/** One relay per id with an address per family; the last word on a family and on the credentials holds. */
export const relaysOf = (entries: ReadonlyArray<unknown> | null | undefined, notes: Notes): ReadonlyArray<Relay> => {
  const relays = new Map<RelayId, Relay>()
  for (const entry of entries ?? []) {
    const decoded = decodeTurn(entry)
    if (Result.isFailure(decoded)) {
      // A server for STUN alone is fine, and not needed: relays answer those questions too.
      if (!isStun(entry)) notes.skipped++
      continue
    }
    const { id: uuid, addr, username, password } = decoded.success
    const id = RelayId.make(uuid.toLowerCase())
    const address = parseHostPort(addr)!
    const others = (relays.get(id)?.addresses ?? []).filter((known) => isV6(known.address) !== isV6(address.address))
    relays.set(id, { id, addresses: [...others, address], username, password })
  }
  return [...relays.values()]
}

const isV6 = (address: string): boolean => address.includes(":")

const isStun = (entry: unknown): boolean =>
  typeof entry === "object" && entry !== null && "type" in entry && entry.type === "stun"

const filtersOf = (
  filters: (typeof wire.Resource.Type)["filters"]
): Result.Result<ReadonlyArray<PortFilter>, string> => {
  const kept: Array<PortFilter> = []
  for (const filter of filters ?? []) {
    if (filter.protocol === "icmp") {
      kept.push({ protocol: "icmp" })
      continue
    }
    const from = filter.port_range_start ?? 0
    const to = filter.port_range_end ?? 65_535
    // An empty range that were dropped could leave an empty list, which lets everything through.
    if (from > to) return Result.fail("a port range of the resource's filters runs backwards")
    kept.push({ protocol: filter.protocol, from, to })
  }
  return Result.succeed(kept)
}

const resourceOf = (resource: typeof wire.Resource.Type): Result.Result<Resource, string> =>
  Result.flatMap(filtersOf(resource.filters), (filters) => {
    const base = { id: resourceId(resource.id), filters, allow: [] }
    switch (resource.type) {
      case "dns": {
        const pattern = resource.address.toLowerCase().replace(/\.$/, "")
        return Result.succeed<Resource>({ ...base, kind: "dns", pattern, resolver: "system" })
      }
      case "cidr": {
        const network = networkOf(resource.address)
        return network === undefined
          ? Result.fail("the resource's address is no network")
          : Result.succeed<Resource>({ ...base, kind: "cidr", network })
      }
      case "internet":
        return Result.succeed<Resource>({ ...base, kind: "internet" })
    }
  })

/** Canonical text, also of an address with bits behind its prefix. */
export const networkOf = (text: string): string | undefined => {
  const plain = parseNetwork(text)
  if (plain !== undefined) return formatNetwork(plain)
  const slash = text.indexOf("/")
  const address = parseAddress(text.slice(0, Math.max(0, slash)))
  const length = /^[0-9]{1,3}$/.test(text.slice(slash + 1)) ? Number(text.slice(slash + 1)) : 129
  if (address === undefined || length > (isV6(text) ? 128 : 32)) return undefined
  const prefix = isV6(text) ? length : length + 96
  return formatNetwork({ address: mask(address, prefix), prefix })
}

const nameOf = (
  request: string | { readonly name: string; readonly proxy_ips: ReadonlyArray<string> } | null | undefined
): NameRequest | null => {
  if (request === null || request === undefined) return null
  return typeof request === "string"
    ? { _tag: "Question", domain: request }
    : { _tag: "Assigned", domain: request.name, proxyIps: request.proxy_ips }
}

const clientOf = (
  id: string,
  peer: { readonly public_key: string; readonly preshared_key: string; readonly ipv4: string; readonly ipv6: string }
): Client => ({
  id: clientId(id),
  publicKey: peer.public_key,
  presharedKey: peer.preshared_key,
  tunnel4: canonical(peer.ipv4),
  tunnel6: canonical(peer.ipv6)
})

const authorizeFlow = (generation: "B" | "C"): Decode<AuthorizeFlow> =>
  message(wire.AuthorizeFlow, (flow) =>
    Result.map(resourceOf(flow.resource), (resource) => ({
      _tag: "AuthorizeFlow",
      generation,
      ref: flow.ref,
      client: clientOf(flow.client.id, flow.client),
      local: flow.gateway_ice_credentials,
      remote: flow.client_ice_credentials,
      resource,
      expiresAt: millis(flow.expires_at)
    }))
  )

export const candidatesOf = (entries: ReadonlyArray<unknown>, notes: Notes): ReadonlyArray<string> => {
  const kept = entries.flatMap((entry) => {
    const decoded = decodeCandidate(entry)
    return Result.isSuccess(decoded) ? [decoded.success] : []
  })
  notes.skipped += entries.length - kept.length
  return kept
}

const candidates = (_tag: "Candidates" | "InvalidatedCandidates"): Decode<PortalMessage> =>
  plain(wire.Candidates, ({ candidates, client_id }, notes) => ({
    _tag,
    client: clientId(client_id),
    candidates: candidatesOf(candidates, notes)
  }))

/** Gateways and clients are told alike. */
export const relaysPresence: Decode<RelaysPresence> = plain(wire.RelaysPresence, (presence, notes) => ({
  _tag: "RelaysPresence",
  disconnected: presence.disconnected_ids.map((id) => RelayId.make(id.toLowerCase())),
  connected: relaysOf(presence.connected, notes)
}))
export const disconnect: Decode<Disconnect> = plain(wire.Disconnect, ({ reason }) => ({ _tag: "Disconnect", reason }))

const grantOf = (wire: {
  readonly client_id: string
  readonly resource_id: string
  readonly expires_at: number | null
}): ListedAuthorization => ({
  client: clientId(wire.client_id),
  resource: resourceId(wire.resource_id),
  expiresAt: millis(wire.expires_at)
})

const decoders: Readonly<Record<string, Decode<PortalMessage>>> = {
  init: plain(wire.Init, (init, notes) => ({
    _tag: "Init",
    tunnel4: canonical(init.interface.ipv4),
    tunnel6: canonical(init.interface.ipv6),
    relays: relaysOf(init.relays, notes),
    authorizations: init.authorizations?.map(grantOf) ?? null
  })),
  relays_presence: relaysPresence,
  request_connection: message(wire.RequestConnection, (request, notes) =>
    Result.map(resourceOf(request.resource), (resource): RequestConnection => ({
      _tag: "RequestConnection",
      ref: request.ref,
      client: clientOf(request.client.id, request.client.peer),
      remote: request.client.payload.ice_parameters,
      resource,
      name: nameOf(request.client.payload.domain),
      expiresAt: millis(request.expires_at),
      relays: relaysOf(request.relays, notes)
    }))
  ),
  allow_access: message(wire.AllowAccess, (request) =>
    Result.map(resourceOf(request.resource), (resource): AllowAccess => ({
      _tag: "AllowAccess",
      ref: request.ref,
      client: clientId(request.client_id),
      resource,
      name: nameOf(request.payload),
      expiresAt: millis(request.expires_at)
    }))
  ),
  authorize_flow: authorizeFlow("B"),
  create_authorization: authorizeFlow("C"),
  ice_candidates: candidates("Candidates"),
  invalidate_ice_candidates: candidates("InvalidatedCandidates"),
  reject_access: plain(wire.RejectAccess, (reject) => ({
    _tag: "RejectAccess",
    client: clientId(reject.client_id),
    resource: resourceId(reject.resource_id)
  })),
  resource_updated: message(wire.Resource, (resource) =>
    Result.map(resourceOf(resource), (resource) => ({ _tag: "ResourceUpdated", resource }))
  ),
  access_authorization_expiry_updated: plain(wire.ExpiryUpdated, (update) => ({
    _tag: "ExpiryUpdated",
    ...grantOf(update)
  })),
  disconnect
}

/** Where in the message the first problem is. */
const placeOf = (issue: SchemaIssue.Issue): string => {
  const path: Array<string> = []
  let at: SchemaIssue.Issue | undefined = issue
  let missing = false
  while (at !== undefined) {
    if (at._tag === "Pointer") path.push(...at.path.map(String))
    if (at._tag === "MissingKey") missing = true
    at = "issue" in at ? at.issue : "issues" in at ? at.issues[0] : undefined
  }
  const place = path.length === 0 ? "the payload" : path.join(".").slice(0, 120)
  return missing ? `${place} is missing` : `${place} is not as expected`
}
