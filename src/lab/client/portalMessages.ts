/**
 * What the portal tells a client (docs/portal-protocol.md, "The client's side"): decoded once, in the model's terms.
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaParser from "effect/SchemaParser"
import {
  candidatesOf,
  canonical,
  type Decode,
  decodeBy,
  type Decoded,
  type Disconnect,
  disconnect,
  message,
  networkOf,
  type Notes,
  plain,
  relaysOf,
  type RelaysPresence,
  relaysPresence,
  resourceId
} from "../../control/firezone/messages.ts"
import * as wire from "../../control/firezone/wire.ts"
import type { IceCredentials } from "../../model/AccessRequest.ts"
import { ClientId } from "../../model/Client.ts"
import type { Relay } from "../../model/Relay.ts"
import type { ResourceId } from "../../model/Resource.ts"

/** A resource as a client knows it. */
export type ClientResource =
  | { readonly id: ResourceId; readonly kind: "dns"; readonly pattern: string }
  | { readonly id: ResourceId; readonly kind: "cidr"; readonly network: string }
  | { readonly id: ResourceId; readonly kind: "internet" }

/** Gateways are the data plane's clients: one kind of peer, one kind of id. */
export type GatewayId = ClientId

export type ClientMessage =
  | {
      readonly _tag: "Init"
      readonly tunnel4: string
      readonly tunnel6: string
      readonly resources: ReadonlyArray<ClientResource>
      readonly relays: ReadonlyArray<Relay>
    }
  | { readonly _tag: "FlowCreated"; readonly resource: ResourceId; readonly gateway: Gateway }
  | { readonly _tag: "GatewayNamed"; readonly resource: ResourceId; readonly gateway: GatewayId }
  | ConnectionAccepted
  | { readonly _tag: "FlowFailed"; readonly resource: ResourceId; readonly reason: string }
  | {
      readonly _tag: "Candidates" | "InvalidatedCandidates"
      readonly gateway: GatewayId
      readonly candidates: ReadonlyArray<string>
    }
  | RelaysPresence
  | { readonly _tag: "ResourceChanged"; readonly resource: ClientResource }
  | { readonly _tag: "ResourceDeleted"; readonly resource: ResourceId }
  | Disconnect

/** Generation A: a gateway's answer to our request for a connection. */
export interface ConnectionAccepted {
  readonly _tag: "ConnectionAccepted"
  readonly resource: ResourceId
  readonly gateway: GatewayId
  readonly publicKey: string
  readonly remote: IceCredentials
}

/** A gateway with what is needed to reach it. */
export interface Gateway {
  readonly id: GatewayId
  readonly publicKey: string
  readonly presharedKey: string
  readonly tunnel4: string
  readonly tunnel6: string
  readonly local: IceCredentials
  readonly remote: IceCredentials
}

/** As `decodeMessage` of the gateway's side. */
export const decodeClientMessage = (event: string, payload: unknown): Decoded<ClientMessage> =>
  decodeBy(decoders, event, payload)

/** What the portal replied to one of our messages of generation A; `request` is that message's content. */
export const decodeReply = (event: string, request: unknown, response: unknown): Decoded<ClientMessage> =>
  decodeBy(replies, event, { request, response })

/** The resource that one of our messages was about and the portal refused it. */
export const decodeRefusal = (request: unknown, reason: string): ClientMessage | null => {
  const about = decodeAbout(request)
  return Result.isFailure(about)
    ? null
    : { _tag: "FlowFailed", resource: resourceId(about.success.resource_id), reason }
}

const ResourceWire = Schema.Union([
  Schema.Struct({ type: Schema.Literals(["dns", "cidr"]), id: wire.Uuid, address: wire.text(1024) }),
  Schema.Struct({ type: Schema.Literal("internet"), id: wire.Uuid })
])
const InitWire = Schema.Struct({
  interface: Schema.Struct({ ipv4: wire.Ipv4, ipv6: wire.Ipv6 }),
  resources: wire.list(Schema.Unknown, 10_000),
  relays: wire.maybe(wire.Relays)
})
const FlowWire = Schema.Struct({
  resource_id: wire.Uuid,
  gateway_id: wire.Uuid,
  gateway_public_key: wire.Key,
  gateway_ipv4: wire.Ipv4,
  gateway_ipv6: wire.Ipv6,
  preshared_key: wire.Key,
  client_ice_credentials: wire.Ice,
  gateway_ice_credentials: wire.Ice
})

const AboutWire = Schema.Struct({ resource_id: wire.Uuid })
const decodeAbout = SchemaParser.decodeUnknownResult(AboutWire)
const PreparedWire = Schema.Struct({ request: AboutWire, response: Schema.Struct({ gateway_id: wire.Uuid }) })
const AcceptedWire = Schema.Struct({
  request: Schema.Struct({ resource_id: wire.Uuid, gateway_id: wire.Uuid }),
  response: Schema.Struct({
    gateway_public_key: wire.Key,
    gateway_payload: Schema.Struct({ ConnectionAccepted: Schema.Struct({ ice_parameters: wire.Ice }) })
  })
})

const gatewayId = (uuid: string): GatewayId => ClientId.make(uuid.toLowerCase())
const decodeResource = SchemaParser.decodeUnknownResult(ResourceWire)

const resourceOf = (resource: typeof ResourceWire.Type): ClientResource | undefined => {
  const id = resourceId(resource.id)
  if (resource.type === "internet") return { id, kind: "internet" }
  if (resource.type === "dns") {
    return { id, kind: "dns", pattern: resource.address.toLowerCase().replace(/\.$/, "") }
  }
  const network = networkOf(resource.address)
  return network === undefined ? undefined : { id, kind: "cidr", network }
}

/** Each one is read by itself: one of a kind unknown here must not cost the others. */
const resourcesOf = (entries: ReadonlyArray<unknown>, notes: Notes): ReadonlyArray<ClientResource> =>
  entries.flatMap((entry) => {
    const decoded = decodeResource(entry)
    const resource = Result.isSuccess(decoded) ? resourceOf(decoded.success) : undefined
    if (resource === undefined) notes.skipped++
    return resource === undefined ? [] : [resource]
  })

const candidates = (_tag: "Candidates" | "InvalidatedCandidates"): Decode<ClientMessage> =>
  plain(
    Schema.Struct({ gateway_id: wire.Uuid, candidates: wire.list(Schema.Unknown, 256) }),
    ({ candidates, gateway_id }, notes) => ({
      _tag,
      gateway: gatewayId(gateway_id),
      candidates: candidatesOf(candidates, notes)
    })
  )

const flowCreated: Decode<ClientMessage> = plain(FlowWire, (flow) => ({
  _tag: "FlowCreated",
  resource: resourceId(flow.resource_id),
  gateway: {
    id: gatewayId(flow.gateway_id),
    publicKey: flow.gateway_public_key,
    presharedKey: flow.preshared_key,
    tunnel4: canonical(flow.gateway_ipv4),
    tunnel6: canonical(flow.gateway_ipv6),
    local: flow.client_ice_credentials,
    remote: flow.gateway_ice_credentials
  }
}))

const flowFailed: Decode<ClientMessage> = plain(
  Schema.Struct({ resource_id: wire.Uuid, reason: wire.text(256) }),
  ({ reason, resource_id }) => ({ _tag: "FlowFailed", resource: resourceId(resource_id), reason })
)

const decoders: Readonly<Record<string, Decode<ClientMessage>>> = {
  init: plain(InitWire, (init, notes) => ({
    _tag: "Init",
    tunnel4: canonical(init.interface.ipv4),
    tunnel6: canonical(init.interface.ipv6),
    resources: resourcesOf(init.resources, notes),
    relays: relaysOf(init.relays, notes)
  })),
  flow_created: flowCreated,
  authorization_created: flowCreated,
  flow_creation_failed: flowFailed,
  authorization_creation_failed: flowFailed,
  ice_candidates: candidates("Candidates"),
  gateway_ice_candidates: candidates("Candidates"),
  new_gateway_ice_candidates: candidates("Candidates"),
  invalidate_ice_candidates: candidates("InvalidatedCandidates"),
  invalidate_gateway_ice_candidates: candidates("InvalidatedCandidates"),
  relays_presence: relaysPresence,
  resource_created_or_updated: message(ResourceWire, (wire) => {
    const resource = resourceOf(wire)
    return resource === undefined
      ? Result.fail("the resource's address is no network")
      : Result.succeed({ _tag: "ResourceChanged", resource })
  }),
  resource_deleted: plain(wire.Uuid, (id) => ({ _tag: "ResourceDeleted", resource: resourceId(id) })),
  disconnect
}

const replies: Readonly<Record<string, Decode<ClientMessage>>> = {
  prepare_connection: plain(PreparedWire, ({ request, response }) => ({
    _tag: "GatewayNamed",
    resource: resourceId(request.resource_id),
    gateway: gatewayId(response.gateway_id)
  })),
  request_connection: plain(AcceptedWire, ({ request, response }) => ({
    _tag: "ConnectionAccepted",
    resource: resourceId(request.resource_id),
    gateway: gatewayId(request.gateway_id),
    publicKey: response.gateway_public_key,
    remote: response.gateway_payload.ConnectionAccepted.ice_parameters
  }))
}
