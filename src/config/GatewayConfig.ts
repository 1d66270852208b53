import type { LogLevel } from "effect/LogLevel"
import type { Firewall } from "../model/firewall.ts"
import type { Right } from "../model/Authorization.ts"
import type { Client, ClientId } from "../model/Client.ts"
import type { Grant } from "../model/Grant.ts"
import type { LocalRecord } from "../dns/tunnelAnswer.ts"
import { defaultRanges, type Ranges } from "../model/defaultRanges.ts"
import type { PolicyTest } from "../model/PolicyTest.ts"
import type { Resource } from "../model/Resource.ts"
import type { ResolverSet } from "../model/ResolverSet.ts"
import type { Places } from "./places.ts"
import type { PostgresAddress } from "./postgresAddress.ts"

/** A host (name or canonical address, no brackets) and a UDP port. */
export interface HostPort {
  readonly host: string
  readonly port: number
}

/** The four ranges of the gateway as canonical network text, and the tunnel's MTU. */
export interface NetworkConfig extends Ranges {
  readonly mtu: number
}

/** A client as configured: the model's client plus the groups that `allow:` lists may name. */
export interface ConfiguredClient extends Client {
  readonly groups: ReadonlyArray<string>
}

/** A zone that is asked of a resolver set without being a resource. */
export interface Zone {
  readonly domain: string
  readonly resolver: string
  /** Who may ask; `null`: every client. */
  readonly clients: ReadonlySet<ClientId> | null
}

/** Where gateways with one key are. */
export interface Site {
  readonly name: string
  /** It decides which addresses are the site's. */
  readonly number: number
  /** What clients dial there. */
  readonly endpoint: HostPort
  readonly publicKey: string
  /** Of its gateways, inside of the tunnel. */
  readonly gateway4: string
  readonly gateway6: string
}

export interface Sites {
  /** The gateway's. */
  readonly own: Site
  /** The own one first. */
  readonly all: ReadonlyArray<Site>
  /** What is reached at other sites only: all else in a configuration is of the own one. */
  readonly elsewhere: ReadonlyArray<Grant & { readonly site: Site }>
}

/** A checked `sallyport.yaml`: every reference resolved, every address assigned, every default filled in. */
export interface GatewayConfig {
  /** What clients dial. */
  readonly endpoint: HostPort
  readonly listenPort: number
  /** Resolver sets by name. `system` is always there without being listed. */
  readonly resolvers: ReadonlyMap<string, ResolverSet>
  readonly clients: ReadonlyArray<ConfiguredClient>
  /** Those that are reached here; so are `grants`. */
  readonly resources: ReadonlyArray<Resource>
  /** At most one for each resource: of the clients that its `allow` names, themselves or by a group. */
  readonly grants: ReadonlyArray<Grant>
  readonly zones: ReadonlyArray<Zone>
  /** Search domains of clients, the first one first. */
  readonly search: ReadonlyArray<string>
  /** By name: lower case, no trailing dot. One CNAME, or others. */
  readonly records: ReadonlyMap<string, ReadonlyArray<LocalRecord>>
  /** Files with names that are not answered, in hosts(5) format or one domain a line. */
  readonly block: ReadonlyArray<string>
  /** What must hold of all this before it counts. */
  readonly tests: ReadonlyArray<PolicyTest>
  readonly network: NetworkConfig
  /** The gateway's own tunnel addresses: the first host address of each tunnel range, or that of its site. */
  readonly gateway4: string
  readonly gateway6: string
  /** `null`: there is only one site. */
  readonly sites: Sites | null
  readonly firewall: Firewall
  readonly masquerade: boolean
  readonly keepPorts: boolean
  /** What the host's routing rules know WireGuard's packets by; `null`: no mark. */
  readonly fwmark: number | null
  /** Whether the host's connection tracking sees the gateway's own UDP packets. */
  readonly trackUdp: boolean
  readonly stateDir: string
  /** What the gateways of a site share; `null`: this one is alone. */
  readonly state: PostgresAddress | null
  /** Where they reach this one; `null`: where PostgreSQL sees it. */
  readonly advertise: string | null
  readonly controlSocket: string
  readonly device: string
  /** What the tunnel DNS server does with names under no resource. */
  readonly otherNames: "forward" | "refuse"
  readonly logLevel: LogLevel
  /** Whether `log` tells the questions of clients. */
  readonly logDns: boolean
  readonly logFormat: LogFormat
  /** When the file is read again: when somebody says so, or also by itself. */
  readonly reload: "on_command" | "on_change"
  /** Where the dashboard, metrics and health are served; `null`: nowhere. */
  readonly listenHttp: HostPort | null
  /** Whether metrics tell each client's traffic. */
  readonly metricsPerClient: boolean
  /** Without a file nothing has a place. */
  readonly places?: Places
  /** What is odd in the file without being wrong, in lines like those of errors. */
  readonly warnings: ReadonlyArray<string>
}

export type LogFormat = "human" | "json"

/** Longer configuration files are refused unread. */
export const maxFileLength = 1 << 20

export const defaultDevice = "sallyport0"
export const defaultListenPort = 51820
export const defaultListenHttp: HostPort = { host: "127.0.0.1", port: 9820 }

export const defaultNetwork: NetworkConfig = { ...defaultRanges, mtu: 1280 }

/** What one client may reach, in the order of the file's resources. */
export const rightsIn = (config: GatewayConfig, client: ClientId): ReadonlyArray<Right> =>
  config.grants.filter(({ clients }) => clients.some(({ id }) => id === client))

/** What it may reach at another site. */
export const rightsElsewhere = ({ sites }: GatewayConfig, client: ClientId, at: Site): ReadonlyArray<Right> =>
  sites?.elsewhere.filter(({ clients, site }) => site === at && clients.some(({ id }) => id === client)) ?? []
