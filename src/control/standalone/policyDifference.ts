/** What has to be done to get from one policy to another while the gateway runs. Pure. */
import type { ConfiguredClient, GatewayConfig } from "../../config/GatewayConfig.ts"
import type { Authorization, Right } from "../../model/Authorization.ts"
import type { Client, ClientId } from "../../model/Client.ts"
import type { Grant } from "../../model/Grant.ts"
import type { ResourceId } from "../../model/Resource.ts"

export interface PolicyDifference {
  /** Settings that differ and cannot while the gateway runs, as the file calls them. */
  readonly fixed: ReadonlyArray<string>
  readonly clients: Changed<ConfiguredClient, ClientId>
  readonly resources: Changed<ResourceId, ResourceId>
  /** New ones, and those whose resource or expiry is another now. */
  readonly granted: ReadonlyArray<Authorization>
  /** Those that are not there any more, or whose resource is of another kind now. */
  readonly ended: ReadonlyArray<Pick<GrantChange, "client" | "resource">>
  /** Of `granted`, those by which a flow may go on that a client would lose while what else is its changes one by one. */
  readonly bridges: ReadonlyArray<Authorization>
  readonly grants: ReadonlyArray<GrantChange>
  /** Clients that are new, are something else, or may reach something else than before. */
  readonly rights: ReadonlySet<ClientId>
  /** Names of resolver sets that differ. */
  readonly resolvers: ReadonlyArray<string>
  /** Other settings that differ, as the file calls them. */
  readonly settings: ReadonlyArray<string>
}

/** `null`: there is none before, or after. */
export interface GrantChange {
  readonly client: ClientId
  readonly resource: ResourceId
  readonly before: Authorization | null
  readonly after: Authorization | null
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
  ["network", ({ network }) => network],
  ["site", ({ gateway4, gateway6, sites }) => [sites === null, gateway4, gateway6]],
  ["device", ({ device }) => device],
  ["state", ({ state }) => state],
  ["state_dir", ({ stateDir }) => stateDir],
  ["control_socket", ({ controlSocket }) => controlSocket],
  ["firewall", ({ firewall }) => firewall],
  ["masquerade", ({ masquerade }) => masquerade],
  ["keep_ports", ({ keepPorts }) => keepPorts],
  ["track_udp", ({ trackUdp }) => trackUdp],
  ["fwmark", ({ fwmark }) => fwmark],
  ["log_format", ({ logFormat }) => logFormat],
  ["listen_http", ({ listenHttp }) => listenHttp]
]

const settings: ReadonlyArray<readonly [string, (config: GatewayConfig) => unknown]> = [
  ["endpoint", ({ endpoint }) => endpoint],
  ["advertise", ({ advertise }) => advertise],
  ["sites", ({ sites }) => sites && { ...sites, elsewhere: sites.elsewhere.map(withoutClients) }],
  ["zones", ({ zones }) => zones.map((zone) => ({ ...zone, clients: zone.clients && [...zone.clients] }))],
  ["search", ({ search }) => search],
  ["records", ({ records }) => [...records]],
  ["block", ({ block }) => block],
  ["other_names", ({ otherNames }) => otherNames],
  ["log_dns", ({ logDns }) => logDns],
  ["log_level", ({ logLevel }) => logLevel],
  ["reload", ({ reload }) => reload],
  ["metrics_per_client", ({ metricsPerClient }) => metricsPerClient]
]

/** What its clients are is compared by itself: a hundred thousand pairs are as many texts of a client. */
const withoutClients = ({ clients, site, ...right }: NonNullable<GatewayConfig["sites"]>["elsewhere"][number]) => ({
  ...right,
  site: site.name,
  clients: ids(clients)
})

export const policyDifference = (before: GatewayConfig, after: GatewayConfig): PolicyDifference => {
  const differs = ([, of]: (typeof settings)[number]) => !isSame(of(before), of(after))
  const clients = compare(byId(before.clients), byId(after.clients))
  const resources = compare(byId(before.resources), byId(after.resources))
  const removedClients = new Set(clients.removed)
  const granted: Array<Authorization> = []
  const ended: Array<GrantChange> = []
  const bridges: Array<Authorization> = []
  const rights = new Set<ClientId>([...ids(clients.added), ...ids(clients.changed)])
  const grants = grantChanges(before, after, new Set(resources.changed.map(({ id }) => id)))
  for (const [client, changes] of Map.groupBy(grants, (change) => change.client)) {
    if (removedClients.has(client)) continue
    rights.add(client)
    const given = changes.flatMap(({ after }) => after ?? [])
    const lost = changes.filter(({ after, before }) => before !== null && before.resource.kind !== after?.resource.kind)
    granted.push(...given)
    ended.push(...lost)
    // A single one that becomes another of its kind keeps the flows that it still covers by itself.
    const isAlone = changes.length === 1 && lost.length === 0
    if (!isAlone && changes.some(({ before }) => before !== null)) bridges.push(...given)
  }
  return {
    fixed: fixedSettings.filter(differs).map(([name]) => name),
    clients,
    resources: { ...resources, added: ids(resources.added), changed: ids(resources.changed) },
    granted,
    ended,
    bridges,
    grants,
    rights,
    resolvers: [...new Set([...before.resolvers.keys(), ...after.resolvers.keys()])].filter(
      (name) => !isSame(before.resolvers.get(name), after.resolvers.get(name))
    ),
    settings: settings.filter(differs).map(([name]) => name)
  }
}

/** Whether both say the same, as far as a gateway goes by it. */
export const isNothing = ({ clients, grants, resolvers, resources, settings }: PolicyDifference): boolean =>
  grants.length + resolvers.length + settings.length === 0 &&
  [clients, resources].every(({ added, changed, removed }) => added.length + changed.length + removed.length === 0)

export const newClients = ({ clients }: PolicyDifference): ReadonlySet<string> => new Set(ids(clients.added))

/** How many of each kind. */
export const countGrants = (grants: ReadonlyArray<GrantChange>) => {
  const count = { added: 0, changed: 0, removed: 0 }
  for (const change of grants) count[kindOfChange(change)]++
  return count
}

export const kindOfChange = ({ after, before }: GrantChange): "added" | "changed" | "removed" =>
  before === null ? "added" : after === null ? "removed" : "changed"

/** In a line: new, changed and removed ones of each kind, and what else the file says differently. */
export const describeDifference = ({ clients, grants, resolvers, resources, settings }: PolicyDifference): string => {
  const { added, changed, removed } = countGrants(grants)
  return [
    ...(
      [
        ["clients", clients.added.length, clients.changed.length, clients.removed.length],
        ["resources", resources.added.length, resources.changed.length, resources.removed.length],
        ["grants", added, changed, removed]
      ] as const
    ).map(([what, ...count]) => `${what} +${count[0]} ~${count[1]} -${count[2]}`),
    ...resolvers.map((name) => `resolvers.${name}`),
    ...settings
  ].join(", ")
}

/** Those that are new or gone, and those whose resource or expiry is another. Most of hundreds of thousands are the same. */
const grantChanges = (
  before: GatewayConfig,
  after: GatewayConfig,
  changed: ReadonlySet<ResourceId>
): ReadonlyArray<GrantChange> => {
  const [was, is] = [before, after].map(({ grants }) => new Map(grants.map((grant) => [grant.resource.id, grant])))
  const compared = clientLists()
  const changes: Array<GrantChange> = []
  for (const resource of new Set([...was!.keys(), ...is!.keys()])) {
    const [then, now] = [was!.get(resource), is!.get(resource)]
    const { gone, kept, fresh } = compared(then?.clients ?? nobody, now?.clients ?? nobody)
    const change = (old: Client | null, client: Client | null): void => {
      const [before, after] = [old && authorization(then!, old), client && authorization(now!, client)]
      changes.push({ client: (client ?? old)!.id, resource, before, after })
    }
    for (const client of gone) change(client, null)
    const isSame = then?.expiresAt === now?.expiresAt && !changed.has(resource)
    if (!isSame) for (const [old, client] of kept) change(old, client)
    for (const client of fresh) change(null, client)
  }
  return changes
}

const nobody: ReadonlyArray<Client> = []

const authorization = ({ expiresAt, resource }: Right, client: Client): Authorization => ({
  client,
  resource,
  expiresAt
})

interface ListDifference {
  readonly gone: ReadonlyArray<Client>
  /** As they were and as they are. */
  readonly kept: ReadonlyArray<readonly [Client, Client]>
  readonly fresh: ReadonlyArray<Client>
}

/** What is between two lists; once for all resources that have them. */
const clientLists = () => {
  const known = new Map<Grant["clients"], Map<Grant["clients"], ListDifference>>()
  return (before: Grant["clients"], after: Grant["clients"]): ListDifference => {
    const ofBefore = known.get(before) ?? new Map<Grant["clients"], ListDifference>()
    known.set(before, ofBefore)
    const found = ofBefore.get(after) ?? compareLists(before, after)
    ofBefore.set(after, found)
    return found
  }
}

const compareLists = (before: Grant["clients"], after: Grant["clients"]): ListDifference => {
  const gone = new Map(before.map((client) => [client.id, client]))
  const kept: Array<readonly [Client, Client]> = []
  const fresh: Array<Client> = []
  for (const client of after) {
    const old = gone.get(client.id)
    gone.delete(client.id)
    if (old === undefined) fresh.push(client)
    else kept.push([old, client])
  }
  return { gone: [...gone.values()], kept, fresh }
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
