/** What has to be done to get from one policy to another while the gateway runs. Pure. */
import type { ConfiguredClient, GatewayConfig } from "../../config/GatewayConfig.ts"
import type { Authorization } from "../../model/Authorization.ts"
import type { ClientId } from "../../model/Client.ts"
import type { ResourceId } from "../../model/Resource.ts"

export interface PolicyDifference {
  /** Settings that differ and cannot while the gateway runs, as the file calls them. */
  readonly fixed: ReadonlyArray<string>
  readonly clients: Changed<ConfiguredClient, ClientId>
  readonly resources: Changed<ResourceId, ResourceId>
  /** New ones, and those whose resource or expiry is another now. */
  readonly granted: ReadonlyArray<Authorization>
  /** Those that are not there any more, or whose resource is of another kind now. */
  readonly ended: ReadonlyArray<{ readonly client: ClientId; readonly resource: ResourceId }>
  readonly grants: { readonly added: number; readonly changed: number; readonly removed: number }
  /** Clients that are new, are something else, or may reach something else than before. */
  readonly rights: ReadonlySet<ClientId>
  /** Names of resolver sets that differ. */
  readonly resolvers: ReadonlyArray<string>
  /** Other settings that differ, as the file calls them. */
  readonly settings: ReadonlyArray<string>
}

interface Changed<A, R> {
  readonly added: ReadonlyArray<A>
  /** As they are now. */
  readonly changed: ReadonlyArray<A>
  readonly removed: ReadonlyArray<R>
  readonly untouched: number
}

/** What the sockets, the device, the host's set-up or the proxies of clients hang on. */
const fixedSettings: ReadonlyArray<readonly [string, (config: GatewayConfig) => unknown]> = [
  ["listen", ({ listenPort }) => listenPort],
  ["network", ({ gateway4, gateway6, network }) => [network, gateway4, gateway6]],
  ["device", ({ device }) => device],
  ["state_dir", ({ stateDir }) => stateDir],
  ["control_socket", ({ controlSocket }) => controlSocket],
  ["firewall", ({ firewall }) => firewall],
  ["masquerade", ({ masquerade }) => masquerade],
  ["keep_ports", ({ keepPorts }) => keepPorts],
  ["track_udp", ({ trackUdp }) => trackUdp],
  ["fwmark", ({ fwmark }) => fwmark],
  ["log_level", ({ logLevel }) => logLevel],
  ["log_format", ({ logFormat }) => logFormat],
  ["listen_http", ({ listenHttp }) => listenHttp],
  ["the first or last `allow_gateway_host`", opensHost]
]

const settings: ReadonlyArray<readonly [string, (config: GatewayConfig) => unknown]> = [
  ["endpoint", ({ endpoint }) => endpoint],
  ["zones", ({ zones }) => zones.map((zone) => ({ ...zone, clients: zone.clients && [...zone.clients] }))],
  ["search", ({ search }) => search],
  ["records", ({ records }) => [...records]],
  ["block", ({ block }) => block],
  ["other_names", ({ otherNames }) => otherNames],
  ["log_dns", ({ logDns }) => logDns]
]

export const policyDifference = (before: GatewayConfig, after: GatewayConfig): PolicyDifference => {
  const differs = ([, of]: (typeof settings)[number]) => !isSame(of(before), of(after))
  const clients = compare(byId(before.clients), byId(after.clients))
  const resources = compare(byId(before.resources), byId(after.resources))
  const had = grantsByClient(before)
  const has = grantsByClient(after)
  const changedResources = new Set(resources.changed.map(({ id }) => id))
  const kinds = new Map(before.resources.map(({ id, kind }) => [id, kind]))
  const removedClients = new Set(clients.removed)
  const granted: Array<Authorization> = []
  const ended: Array<{ readonly client: ClientId; readonly resource: ResourceId }> = []
  const rights = new Set<ClientId>([...ids(clients.added), ...ids(clients.changed)])
  const grants = { added: 0, changed: 0, removed: 0 }
  for (const [client, now] of has) {
    for (const [resource, grant] of now) {
      const then = had.get(client)?.get(resource)
      if (then !== undefined && then.expiresAt === grant.expiresAt && !changedResources.has(resource)) continue
      if (then === undefined) grants.added++
      else grants.changed++
      if (then !== undefined && kinds.get(resource) !== grant.resource.kind) ended.push({ client, resource })
      granted.push(grant)
      rights.add(client)
    }
  }
  for (const [client, then] of had) {
    for (const resource of then.keys()) {
      if (has.get(client)?.has(resource) === true) continue
      grants.removed++
      if (removedClients.has(client)) continue
      ended.push({ client, resource })
      rights.add(client)
    }
  }
  return {
    fixed: fixedSettings.filter(differs).map(([name]) => name),
    clients,
    resources: { ...resources, added: ids(resources.added), changed: ids(resources.changed) },
    granted,
    ended,
    grants,
    rights,
    resolvers: [...new Set([...before.resolvers.keys(), ...after.resolvers.keys()])].filter(
      (name) => !isSame(before.resolvers.get(name), after.resolvers.get(name))
    ),
    settings: settings.filter(differs).map(([name]) => name)
  }
}

/** In a line: new, changed and removed ones of each kind, and what else the file says differently. */
export const describeDifference = ({ clients, grants, resolvers, resources, settings }: PolicyDifference): string =>
  [
    ...(
      [
        ["clients", clients.added.length, clients.changed.length, clients.removed.length],
        ["resources", resources.added.length, resources.changed.length, resources.removed.length],
        ["grants", grants.added, grants.changed, grants.removed]
      ] as const
    ).map(([what, added, changed, removed]) => `${what} +${added} ~${changed} -${removed}`),
    ...resolvers.map((name) => `resolvers.${name}`),
    ...settings
  ].join(", ")

/** The grants of each client, by resource. */
export const grantsByClient = ({
  grants
}: Pick<GatewayConfig, "grants">): ReadonlyMap<ClientId, Map<ResourceId, Authorization>> => {
  const found = new Map<ClientId, Map<ResourceId, Authorization>>()
  for (const grant of grants) {
    const of = found.get(grant.client.id)
    if (of === undefined) found.set(grant.client.id, new Map([[grant.resource.id, grant]]))
    else of.set(grant.resource.id, grant)
  }
  return found
}

/** Whether the firewall lets clients through to the gateway's host. */
function opensHost({ resources }: GatewayConfig): boolean {
  return resources.some((resource) => resource.allow.includes("gateway_host"))
}

const byId = <A extends { readonly id: string }>(items: ReadonlyArray<A>): ReadonlyMap<A["id"], A> =>
  new Map(items.map((item) => [item.id, item]))

const ids = <Id>(items: ReadonlyArray<{ readonly id: Id }>): ReadonlyArray<Id> => items.map(({ id }) => id)

const compare = <Id, A>(before: ReadonlyMap<Id, A>, after: ReadonlyMap<Id, A>): Changed<A, Id> => {
  const added: Array<A> = []
  const changed: Array<A> = []
  for (const [id, item] of after) {
    const then = before.get(id)
    if (then === undefined) added.push(item)
    else if (!isSame(then, item)) changed.push(item)
  }
  const removed = [...before.keys()].filter((id) => !after.has(id))
  return { added, changed, removed, untouched: after.size - added.length - changed.length }
}

const isSame = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b)
