/**
 * Requests of clients for access, what gateways answer, and candidates between them (docs/portal-protocol.md, "Access
 * requests").
 */
import * as Base64Url from "effect/encoding/Base64Url"
import type * as Result from "effect/Result"
import { deriveIceCredentials, derivePresharedKey } from "./credentials.ts"
import { type IngestClaims, ingestToken } from "./flowLogs.ts"
import type { Frame } from "./frame.ts"
import type { clientMessages, gatewayMessages } from "./messages.ts"
import type { PortalResource } from "./PortalConfig.ts"
import {
  authorizationKey,
  authorize,
  type Connection,
  joined,
  log,
  type Pending,
  type PortalState,
  push,
  related,
  reply,
  withdraw
} from "./portalState.ts"
import { suits } from "./versionGate.ts"
import { resourceForGateway } from "./views.ts"

/** Handles a message that `Decode` reads, of a device that has joined. */
type On<Decode extends (payload: unknown) => Result.Result<unknown, unknown>> = (
  state: PortalState,
  from: Connection,
  message: Result.Result.Success<ReturnType<Decode>>,
  frame: Frame,
  now: number
) => void

type FailureReason = "not_found" | "forbidden" | "offline" | "version_mismatch"

/** A gateway that has not answered by then does not get the authorization. */
const answerTimeoutMs = 15_000
const maxPending = 8192

/** `create_flow`: generation B (and C under another name). */
export const createFlow: On<typeof clientMessages.create_flow> = (state, client, message, frame, now) => {
  const { resource_id, connected_gateway_ids = [] } = message
  const found = findGateway(state, client, resource_id, connected_gateway_ids)
  if (typeof found === "string") return failFlow(state, client, resource_id, found)
  const { resource, gateway } = found
  const asked = ask(state, { kind: "flow", client, gateway, resource, frame, now })
  if (asked === null) return failFlow(state, client, resource_id, "offline")
  const pair = pairOf(client, gateway)
  const event = gateway.endpoint === 2 ? "create_authorization" : "authorize_flow"
  const ends = { client: client.device.id, gateway: gateway.device.id, resource: resource.id, flow: asked.flow }
  const claims = claimsOf(state, "responder", ends)
  push(state, gateway, event, {
    ref: asked.ref,
    flow_id: asked.flow,
    actor: { id: client.device.group.id },
    resource: resourceForGateway(resource),
    client: {
      id: client.device.id,
      public_key: client.publicKey,
      preshared_key: pair.preshared_key,
      ipv4: client.device.ipv4,
      ipv6: client.device.ipv6,
      version: client.agent,
      ...(gateway.endpoint === 2 ? { name: client.device.name } : {})
    },
    client_ice_credentials: pair.client_ice_credentials,
    gateway_ice_credentials: pair.gateway_ice_credentials,
    subject: { actor_id: client.device.group.id, actor_name: client.device.group.name },
    expires_at: asked.expires_at,
    ...(gateway.endpoint === 2
      ? {
          use_iceless: false,
          flow_logs_ingest_token: ingestToken(state.ingestKey, claims, asked.expires_at, now)
        }
      : {})
  })
}

/** `prepare_connection`: generation A asks which gateway serves a resource. */
export const prepareConnection: On<typeof clientMessages.prepare_connection> = (state, client, message, frame) => {
  const { resource_id, connected_gateway_ids = [] } = message
  const found = findGateway(state, client, resource_id, connected_gateway_ids)
  if (typeof found === "string") return reply(state, client, frame, "error", { reason: found })
  const { gateway } = found
  reply(state, client, frame, "ok", {
    resource_id,
    gateway_group_id: gateway.device.group.id,
    gateway_id: gateway.device.id,
    gateway_remote_ip: gateway.remote
  })
}

/** `request_connection`: generation A, to a gateway without a connection yet. */
export const requestConnection: On<typeof clientMessages.request_connection> = (state, client, message, frame, now) => {
  const { gateway_id, resource_id, client_payload, client_preshared_key } = message
  const asked = askGateway(state, client, frame, "connection", gateway_id, resource_id, now)
  if (asked === null) return
  push(state, asked.gateway, "request_connection", {
    ref: asked.ref,
    flow_id: asked.flow,
    actor: { id: client.device.group.id },
    resource: resourceForGateway(asked.resource),
    client: {
      id: client.device.id,
      peer: {
        persistent_keepalive: 25,
        public_key: client.publicKey,
        preshared_key: client_preshared_key,
        ipv4: client.device.ipv4,
        ipv6: client.device.ipv6
      },
      payload: client_payload
    },
    expires_at: asked.expires_at
  })
}

/** `reuse_connection`: generation A, another resource or name over the connection that is there. */
export const reuseConnection: On<typeof clientMessages.reuse_connection> = (state, client, message, frame, now) => {
  const { gateway_id, resource_id, payload = null } = message
  const asked = askGateway(state, client, frame, "reuse", gateway_id, resource_id, now)
  if (asked === null) return
  push(state, asked.gateway, "allow_access", {
    ref: asked.ref,
    flow_id: asked.flow,
    client_id: client.device.id,
    resource: resourceForGateway(asked.resource),
    expires_at: asked.expires_at,
    payload,
    client_ipv4: client.device.ipv4,
    client_ipv6: client.device.ipv6
  })
}

/** `flow_authorized` of a gateway. */
export const flowAuthorized: On<typeof gatewayMessages.flow_authorized> = (state, gateway, { ref }, frame, now) => {
  const pending = answered(state, gateway, ref, ["flow"])
  if (pending === null) return reply(state, gateway, frame, "error", { reason: "invalid_ref" })
  reply(state, gateway, frame, "ok", {})
  const authorization = state.authorizations.get(authorizationKey(pending))
  if (authorization !== undefined) authorize(state, { ...authorization, answeredAt: now })
  const client = waitingClient(state, pending)
  if (client === undefined) return
  const event = client.endpoint === 2 ? "authorization_created" : "flow_created"
  const claims = claimsOf(state, "initiator", pending)
  push(state, client, event, {
    resource_id: pending.resource,
    gateway_id: gateway.device.id,
    gateway_group_id: gateway.device.group.id,
    gateway_public_key: gateway.publicKey,
    gateway_ipv4: gateway.device.ipv4,
    gateway_ipv6: gateway.device.ipv6,
    ...pairOf(client, gateway),
    ...(client.endpoint === 2
      ? {
          use_iceless: false,
          flow_logs_ingest_token: ingestToken(state.ingestKey, claims, authorization?.expiresAt ?? null, now)
        }
      : {})
  })
}

/** `connection_ready` of a gateway: generation A's answer to both requests. */
export const connectionReady: On<typeof gatewayMessages.connection_ready> = (state, gateway, message, frame) => {
  const pending = answered(state, gateway, message.ref, ["connection", "reuse"])
  if (pending === null) return reply(state, gateway, frame, "error", { reason: "invalid_ref" })
  reply(state, gateway, frame, "ok", {})
  const client = waitingClient(state, pending)
  if (client === undefined) return
  reply(state, client, pending.request, "ok", {
    resource_id: pending.resource,
    persistent_keepalive: 25,
    gateway_public_key: gateway.publicKey,
    gateway_payload: message.gateway_payload
  })
}

/** `request_device_access`: there are no device pools here. */
export const refuseDevice: On<typeof clientMessages.request_device_access> = (state, client, message) =>
  push(state, client, "client_device_access_denied", { ...message, reason: "disabled" })

/** Candidates of one side to devices of the other that it has to do with; `event` is what they are told. */
export const forwardCandidates = (
  state: PortalState,
  from: Connection,
  ids: ReadonlyArray<string>,
  candidates: ReadonlyArray<string>,
  event: string
): void => {
  const toClients = from.device.role === "gateway"
  for (const id of new Set(ids)) {
    const to = joined(state, id, toClients ? "client" : "gateway")
    if (to === undefined) continue
    if (!related(state, toClients ? id : from.device.id, toClients ? from.device.id : id)) {
      log(state, `${from.device.name}: candidates for ${to.device.name}, which it has nothing to do with`, "Warn")
      continue
    }
    push(state, to, event, { [toClients ? "gateway_id" : "client_id"]: from.device.id, candidates })
  }
}

/** Gives up on gateways that do not answer. Authorizations of flows are withdrawn, their clients told. */
export const expirePending = (state: PortalState, now: number): void => {
  for (const [ref, pending] of state.pending) {
    if (now - pending.since < answerTimeoutMs) continue
    state.pending.delete(ref)
    if (pending.kind !== "flow") continue
    const authorization = state.authorizations.get(authorizationKey(pending))
    if (authorization !== undefined && (authorization.answeredAt ?? 0) < pending.since) withdraw(state, authorization)
    const client = waitingClient(state, pending)
    if (client !== undefined) failFlow(state, client, pending.resource, "offline")
    log(state, `gateway ${nameOf(state, pending.gateway)} did not answer a request within 15 s: withdrawn`, "Warn")
  }
}

/** Authorizations past their end are dropped; gateways know the end themselves. */
export const expireAuthorizations = (state: PortalState, now: number): void => {
  for (const [key, { expiresAt }] of state.authorizations) {
    if (expiresAt === null || expiresAt * 1000 > now) continue
    state.authorizations.delete(key)
    state.revision++
  }
}

const claimsOf = (
  state: PortalState,
  role: IngestClaims["role"],
  { client, flow, gateway, resource }: Pick<Pending, "client" | "flow" | "gateway" | "resource">
): IngestClaims => {
  const actor = state.devices.get(client)?.group
  return {
    role,
    device_id: role === "initiator" ? client : gateway,
    policy_authorization_id: flow,
    resource_id: resource,
    resource_name: nameOfResource(state, resource),
    actor_id: actor?.id ?? "",
    actor_name: actor?.name ?? ""
  }
}

const pairOf = (client: Connection, gateway: Connection) => {
  const a = { id: client.device.id, publicKey: client.publicKey, pskBase: client.device.pskBase }
  const b = { id: gateway.device.id, publicKey: gateway.publicKey, pskBase: gateway.device.pskBase }
  const ice = deriveIceCredentials(a, b)
  return {
    preshared_key: derivePresharedKey(a, b),
    client_ice_credentials: ice.client,
    gateway_ice_credentials: ice.gateway
  }
}

const findGateway = (
  state: PortalState,
  client: Connection,
  resourceId: string,
  preferred: ReadonlyArray<string>
): FailureReason | { readonly resource: PortalResource; readonly gateway: Connection } => {
  const resource = state.resources.get(resourceId)
  if (resource === undefined) return "not_found"
  if (!resource.allow.includes(client.device.group.name)) return "forbidden"
  const online = [...state.online.values()].filter((c) => serves(c, resource))
  const serving = online.filter(({ agent }) => !state.config.versionGate || suits(client.agent, agent))
  if (serving.length === 0 && online.length > 0) return "version_mismatch"
  const gateway =
    serving.find((c) => preferred.includes(c.device.id)) ??
    (serving.length === 0 ? undefined : serving[(state.random(1)[0] ?? 0) % serving.length])
  return gateway === undefined ? "offline" : { resource, gateway }
}

const serves = (connection: Connection, resource: PortalResource): boolean =>
  connection.joined && connection.device.role === "gateway" && resource.gateways.includes(connection.device.group.name)

/** The common part of generation A's two requests; `null`: the client has its error. */
const askGateway = (
  state: PortalState,
  client: Connection,
  frame: Frame,
  kind: "connection" | "reuse",
  gatewayId: string,
  resourceId: string,
  now: number
) => {
  const fail = (reason: FailureReason) => {
    reply(state, client, frame, "error", { reason })
    log(state, `${client.device.name} asked for ${nameOfResource(state, resourceId)}: ${reason}`, "Warn")
    return null
  }
  const resource = state.resources.get(resourceId)
  if (resource === undefined) return fail("not_found")
  if (!resource.allow.includes(client.device.group.name)) return fail("forbidden")
  const gateway = joined(state, gatewayId, "gateway")
  if (gateway === undefined || !serves(gateway, resource)) return fail("offline")
  const asked = ask(state, { kind, client, gateway, resource, frame, now })
  return asked === null ? fail("offline") : { resource, gateway, ...asked }
}

/** Authorizes the client from now on and keeps its request until the gateway answers; `null`: too many wait. */
const ask = (
  state: PortalState,
  of: {
    readonly kind: Pending["kind"]
    readonly client: Connection
    readonly gateway: Connection
    readonly resource: PortalResource
    readonly frame: Frame
    readonly now: number
  }
): { readonly ref: string; readonly flow: string; readonly expires_at: number | null } | null => {
  if (state.pending.size >= maxPending) return null
  const { client, frame, gateway, kind, now, resource } = of
  const ref = Base64Url.encode(state.random(18))
  const key = { client: client.device.id, resource: resource.id, gateway: gateway.device.id }
  const request = { topic: frame.topic, ref: frame.ref }
  const flow = flowId(state)
  state.pending.set(ref, { ...key, kind, since: now, request, socket: client.socket, flow })
  const { expiresAfter } = state.config
  const expiresAt = expiresAfter === null ? null : Math.floor(now / 1000) + expiresAfter
  const answeredAt = state.authorizations.get(authorizationKey(key))?.answeredAt ?? null
  authorize(state, { ...key, expiresAt, answeredAt })
  log(state, `${client.device.name} asks for ${resource.name}: gateway ${gateway.device.name}`)
  return { ref, flow, expires_at: expiresAt }
}

const failFlow = (state: PortalState, client: Connection, resourceId: string, reason: FailureReason): void => {
  const event = client.endpoint === 2 ? "authorization_creation_failed" : "flow_creation_failed"
  push(state, client, event, { resource_id: resourceId, reason, violated_properties: [] })
  log(state, `${client.device.name} asked for ${nameOfResource(state, resourceId)}: ${reason}`, "Warn")
}

/** What a gateway answers, if it was asked that. */
const answered = (
  state: PortalState,
  gateway: Connection,
  ref: string,
  kinds: ReadonlyArray<Pending["kind"]>
): Pending | null => {
  const pending = state.pending.get(ref)
  if (pending === undefined || pending.gateway !== gateway.device.id || !kinds.includes(pending.kind)) return null
  state.pending.delete(ref)
  return pending
}

const waitingClient = (state: PortalState, pending: Pending): Connection | undefined => {
  const client = joined(state, pending.client, "client")
  return client?.socket === pending.socket ? client : undefined
}

const flowId = (state: PortalState): string => {
  const hex = Array.from(state.random(16), (byte) => byte.toString(16).padStart(2, "0")).join("")
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20)}`
}

const nameOf = (state: PortalState, device: string): string => state.devices.get(device)?.name ?? device
const nameOfResource = (state: PortalState, id: string): string => state.resources.get(id)?.name ?? id
