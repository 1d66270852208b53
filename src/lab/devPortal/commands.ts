/** What an operator or a test can make the portal do. Devices and resources are named by id or by name. */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { text } from "../../config/fields.ts"
import * as values from "../../config/values.ts"
import { relayOf, relayProblem, RelayFile } from "./configFile.ts"
import { pushInit } from "./init.ts"
import { relaysOf } from "./joinedRelays.ts"
import type { PortalResource } from "./PortalConfig.ts"
import { type Connection, authorize, close, type Device, log, type PortalState, push, withdraw } from "./portalState.ts"
import { relayEntries, resourceForClient, resourceForGateway } from "./views.ts"

const Name = Schema.String.check(Schema.isMaxLength(256))
const Role = Schema.Literals(["gateway", "client"])

export const Command = Schema.Union([
  /** Devices, authorizations and what is pending. */
  Schema.Struct({ command: Schema.Literal("status") }),
  /** `reject_access`: of one resource, or of all. */
  Schema.Struct({ command: Schema.Literal("revoke"), client: Name, resource: Schema.optionalKey(Name) }),
  /** Another name or other ports: `resource_updated`; another address: what was granted is withdrawn. */
  Schema.Struct({
    command: Schema.Literal("update"),
    resource: Name,
    name: Schema.optionalKey(Name),
    address: Schema.optionalKey(Name),
    ports: Schema.optionalKey(Schema.Array(text(values.parsePortFilter)))
  }),
  /** `access_authorization_expiry_updated`; `at` in Unix seconds, `null` never. */
  Schema.Struct({
    command: Schema.Literal("expire"),
    client: Name,
    resource: Name,
    at: Schema.NullOr(Schema.Int)
  }),
  /** All relays from now on but for those that have joined by themselves: `relays_presence` to everyone. */
  Schema.Struct({ command: Schema.Literal("relays"), relays: Schema.Record(Schema.String, RelayFile) }),
  /** `init` again, to one device or to all. */
  Schema.Struct({ command: Schema.Literal("init"), device: Schema.optionalKey(Name) }),
  /** The `disconnect` message, then the socket closes. */
  Schema.Struct({ command: Schema.Literal("disconnect"), device: Name, reason: Schema.optionalKey(Name) }),
  /** The socket closes without a word; all sockets without `device`. */
  Schema.Struct({ command: Schema.Literal("close"), device: Schema.optionalKey(Name) }),
  /** The channel's process dies: the device is out of its topic while the socket stays. */
  Schema.Struct({ command: Schema.Literal("crash"), device: Name }),
  /** No answers to a device, not even to heartbeats, until told otherwise. */
  Schema.Struct({ command: Schema.Literal("mute"), device: Name, on: Schema.Boolean }),
  /** The next upgrades are answered with that status. */
  Schema.Struct({
    command: Schema.Literal("refuse"),
    status: Schema.Int.check(Schema.isBetween({ minimum: 400, maximum: 599 })),
    times: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1_000_000 }))),
    role: Schema.optionalKey(Role),
    retry_after: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 86_400 })))
  })
])
export type Command = typeof Command.Type

/** JSON text to a command. */
export const decodeCommand = Schema.decodeUnknownResult(Schema.fromJsonString(Command))

export type CommandResult =
  | { readonly ok: true; readonly [key: string]: unknown }
  | { readonly ok: false; readonly error: string }

export const runCommand = (state: PortalState, command: Command, now: number): CommandResult => {
  switch (command.command) {
    case "status":
      return status(state)
    case "revoke":
      return revoke(state, command.client, command.resource)
    case "update":
      return update(state, command)
    case "expire":
      return expire(state, command.client, command.resource, command.at)
    case "relays":
      return setRelays(state, command.relays, now)
    case "refuse": {
      const { status, times = 1, role = null, retry_after = null } = command
      state.refusal = times === 0 ? null : { status, role, retryAfter: retry_after, left: times }
      return { ok: true }
    }
    case "mute":
      return withDevice(state, command.device, ({ id }) => {
        if (command.on) state.muted.add(id)
        else state.muted.delete(id)
      })
    case "init":
      return withConnections(state, command.device, (to) => to.joined && pushInit(state, to, now))
    case "close":
      return withConnections(state, command.device, (to) => close(state, to, 1011, ""))
    case "crash":
      return withConnections(state, command.device, (to) => {
        push(state, to, "phx_error", {})
        to.joined = false
      })
    case "disconnect":
      return withConnections(state, command.device, (to) => {
        push(state, to, "disconnect", { reason: command.reason ?? "token_expired" })
        close(state, to, 1000, "disconnect")
      })
  }
}

const unknownName = (what: string, name: string): CommandResult => ({ ok: false, error: `no ${what} "${name}"` })

/** By id or by name. */
const find = <A extends { readonly name: string }>(all: ReadonlyMap<string, A>, name: string): A | undefined =>
  all.get(name) ?? [...all.values()].find((one) => one.name === name)

const withDevice = (state: PortalState, name: string, use: (device: Device) => void): CommandResult => {
  const device = find(state.devices, name)
  if (device === undefined) return unknownName("device", name)
  use(device)
  return { ok: true }
}

/** The device's connection, or all; `affected` counts them. */
const withConnections = (
  state: PortalState,
  name: string | undefined,
  use: (connection: Connection) => unknown
): CommandResult => {
  const device = name === undefined ? undefined : find(state.devices, name)
  if (name !== undefined && device === undefined) return unknownName("device", name)
  const chosen = [...state.online.values()].filter((c) => device === undefined || c.device.id === device.id)
  chosen.forEach(use)
  return { ok: true, affected: chosen.length }
}

const status = (state: PortalState): CommandResult => ({
  ok: true,
  devices: [...state.devices.values()].map(({ id, role, group, name, externalId, ipv4, ipv6 }) => {
    const connection = state.online.get(id)
    return {
      id,
      role,
      group: group.name,
      name,
      external_id: externalId,
      ipv4,
      ipv6,
      online: connection !== undefined,
      joined: connection?.joined ?? false,
      public_key: connection?.publicKey ?? null,
      version: connection?.agent ?? null
    }
  }),
  resources: [...state.resources.values()].map(({ id, name, kind, address }) => ({ id, name, type: kind, address })),
  relays: relaysOf(state).map(({ id, name }) => ({ id, name })),
  authorizations: [...state.authorizations.values()].map((a) => ({
    client: state.devices.get(a.client)?.name ?? a.client,
    resource: state.resources.get(a.resource)?.name ?? a.resource,
    gateway: state.devices.get(a.gateway)?.name ?? a.gateway,
    expires_at: a.expiresAt
  })),
  pending: state.pending.size
})

const revoke = (state: PortalState, clientName: string, resourceName: string | undefined): CommandResult => {
  const client = find(state.devices, clientName)
  if (client === undefined) return unknownName("device", clientName)
  const resource = resourceName === undefined ? undefined : find(state.resources, resourceName)
  if (resourceName !== undefined && resource === undefined) return unknownName("resource", resourceName)
  const found = [...state.authorizations.values()].filter(
    (a) => a.client === client.id && (resource === undefined || a.resource === resource.id)
  )
  for (const authorization of found) withdraw(state, authorization)
  log(state, `revoked from ${client.name}: ${resource?.name ?? "everything"}`)
  return { ok: true, affected: found.length }
}

const expire = (state: PortalState, clientName: string, resourceName: string, at: number | null): CommandResult => {
  const client = find(state.devices, clientName)
  if (client === undefined) return unknownName("device", clientName)
  const resource = find(state.resources, resourceName)
  if (resource === undefined) return unknownName("resource", resourceName)
  const found = [...state.authorizations.values()].filter((a) => a.client === client.id && a.resource === resource.id)
  for (const authorization of found) {
    authorize(state, { ...authorization, expiresAt: at })
    const gateway = state.online.get(authorization.gateway)
    if (gateway?.joined !== true) continue
    push(state, gateway, "access_authorization_expiry_updated", {
      client_id: client.id,
      resource_id: resource.id,
      expires_at: at
    })
  }
  return { ok: true, affected: found.length }
}

const update = (state: PortalState, command: Extract<Command, { command: "update" }>): CommandResult => {
  const resource = find(state.resources, command.resource)
  if (resource === undefined) return unknownName("resource", command.resource)
  const address = command.address === undefined ? undefined : readAddress(resource, command.address)
  if (address === null) return { ok: false, error: `"${command.address}" is no address of a ${resource.kind} resource` }
  const changed: PortalResource = {
    ...resource,
    name: command.name ?? resource.name,
    filters: command.ports ?? resource.filters,
    address: address ?? resource.address
  }
  state.resources.set(resource.id, changed)
  const granted = [...state.authorizations.values()].filter((a) => a.resource === resource.id)
  if (changed.address !== resource.address) {
    for (const authorization of granted) withdraw(state, authorization)
  } else {
    for (const id of new Set(granted.map(({ gateway }) => gateway))) {
      const gateway = state.online.get(id)
      if (gateway?.joined === true) push(state, gateway, "resource_updated", resourceForGateway(changed))
    }
  }
  for (const client of state.online.values()) {
    if (!client.joined || client.device.role !== "client" || !changed.allow.includes(client.device.group.name)) continue
    push(state, client, "resource_created_or_updated", resourceForClient(changed, state.config.gateways))
  }
  log(state, `resource ${changed.name} updated`)
  return { ok: true, affected: granted.length }
}

const readAddress = (resource: PortalResource, address: string): string | null => {
  if (resource.kind === "internet") return null
  const parsed = resource.kind === "dns" ? values.parsePattern(address) : values.parseNetworkText(address)
  return Result.isSuccess(parsed) ? parsed.success : null
}

const setRelays = (
  state: PortalState,
  relays: Extract<Command, { command: "relays" }>["relays"],
  now: number
): CommandResult => {
  for (const [name, relay] of Object.entries(relays)) {
    const problem = relayProblem(relay)
    if (problem !== null) return { ok: false, error: `${name}: ${problem.cause}` }
  }
  const old = state.relays
  const next = Object.entries(relays).map(([name, relay]) => relayOf(name, relay))
  state.relays = next
  const known = new Set(old.map((relay) => JSON.stringify(relay)))
  const news = next.filter((relay) => !known.has(JSON.stringify(relay)))
  const disconnected_ids = old.filter(({ id }) => !next.some((r) => r.id === id)).map(({ id }) => id)
  for (const to of state.online.values()) {
    if (!to.joined) continue
    push(state, to, "relays_presence", {
      disconnected_ids,
      connected: news.flatMap((relay) => relayEntries(relay, to, now))
    })
  }
  log(state, `relays: ${next.map(({ name }) => name).join(", ") || "none"}`)
  return { ok: true, affected: disconnected_ids.length }
}
