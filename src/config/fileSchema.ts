import * as Schema from "effect/Schema"
import type { LogLevel } from "effect/LogLevel"
import { oneOf, text, whole } from "./fields.ts"
import { firewalls } from "../model/firewall.ts"
import { maxSites } from "../shared/slotZones.ts"
import { parsePostgresAddress } from "./postgresAddress.ts"
import * as values from "./values.ts"

const logLevels: Readonly<Record<string, LogLevel>> = {
  trace: "Trace",
  debug: "Debug",
  info: "Info",
  warn: "Warn",
  error: "Error",
  none: "None"
}

const ClientFile = Schema.Struct({
  public_key: text(values.parseKey),
  preshared_key: Schema.optionalKey(text(values.parseKey)),
  groups: Schema.optionalKey(Schema.Array(text(values.parseIdentifier))),
  tunnel_ipv4: Schema.optionalKey(text(values.parseAddressText)),
  tunnel_ipv6: Schema.optionalKey(text(values.parseAddressText))
})

const ResourceFile = Schema.Struct({
  name: Schema.optionalKey(text(values.parsePattern)),
  cidr: Schema.optionalKey(text(values.parseNetworkText)),
  internet: Schema.optionalKey(Schema.Boolean),
  ports: Schema.optionalKey(Schema.Array(text(values.parsePortFilter))),
  resolver: Schema.optionalKey(text(values.parseIdentifier)),
  site: Schema.optionalKey(text(values.parseIdentifier)),
  ip_family: Schema.optionalKey(oneOf({ both: null, ipv4: 4, ipv6: 6 } as const)),
  allow: Schema.Array(text(values.parseIdentifier)),
  expires: Schema.optionalKey(text(values.parseExpiry)),
  allow_gateway_host: Schema.optionalKey(Schema.Boolean),
  allow_loopback: Schema.optionalKey(Schema.Boolean),
  allow_link_local: Schema.optionalKey(Schema.Boolean),
  allow_metadata: Schema.optionalKey(Schema.Boolean)
})

/** One value, or a list of them. */
const oneOrMore = <A>(item: Schema.Codec<A, string>) => Schema.Union([item, Schema.Array(item)])

const ZoneFile = Schema.Struct({
  resolver: text(values.parseIdentifier),
  allow: Schema.optionalKey(Schema.Array(text(values.parseIdentifier)))
})

const RecordFile = Schema.Struct({
  a: Schema.optionalKey(oneOrMore(text(values.parseIpv4Text))),
  aaaa: Schema.optionalKey(oneOrMore(text(values.parseIpv6Text))),
  cname: Schema.optionalKey(text(values.parseDomain)),
  txt: Schema.optionalKey(oneOrMore(text(values.parseTxt))),
  ttl: Schema.optionalKey(whole("a TTL in seconds", 0, 86_400))
})

const TestFile = Schema.Struct({
  client: text(values.parseIdentifier),
  reach: text(values.parseTarget),
  expect: oneOf({ allowed: "allowed", denied: "denied" } as const)
})

const NetworkFile = Schema.Struct({
  tunnel_ipv4: Schema.optionalKey(text(values.parseNetworkText)),
  tunnel_ipv6: Schema.optionalKey(text(values.parseNetworkText)),
  proxy_ipv4: Schema.optionalKey(text(values.parseNetworkText)),
  proxy_ipv6: Schema.optionalKey(text(values.parseNetworkText)),
  mtu: Schema.optionalKey(whole("a tunnel MTU", 1280, 1420))
})

const SiteFile = Schema.Struct({
  number: whole("a number of a site", 0, maxSites - 1),
  endpoint: text((value) => values.parseHostPort(value, null)),
  public_key: text(values.parseKey)
})

const resolverServer = text(values.parseResolverServer)

const ResolverSetFile = Schema.Struct({
  servers: Schema.Array(resolverServer),
  order: Schema.optionalKey(oneOf({ fallback: "fallback", fastest: "fastest" } as const))
})

/** The shape of `sallyport.yaml`, each value checked by itself; what they mean together is `resolveConfig`'s matter. */
export const ConfigFile = Schema.Struct({
  endpoint: text((value) => values.parseHostPort(value, null)),
  listen: Schema.optionalKey(whole("a port", 1, 65535)),
  resolvers: Schema.optionalKey(
    Schema.Record(Schema.String, Schema.Union([Schema.Array(resolverServer), ResolverSetFile]))
  ),
  clients: Schema.optionalKey(Schema.Record(Schema.String, ClientFile)),
  resources: Schema.optionalKey(Schema.Record(Schema.String, ResourceFile)),
  zones: Schema.optionalKey(Schema.Record(Schema.String, Schema.Union([text(values.parseIdentifier), ZoneFile]))),
  search: Schema.optionalKey(Schema.Array(text(values.parseDomain))),
  records: Schema.optionalKey(Schema.Record(Schema.String, RecordFile)),
  block: Schema.optionalKey(Schema.Array(text(values.parsePath(4000)))),
  tests: Schema.optionalKey(Schema.Array(TestFile)),
  network: Schema.optionalKey(NetworkFile),
  firewall: Schema.optionalKey(oneOf(firewalls)),
  masquerade: Schema.optionalKey(Schema.Boolean),
  keep_ports: Schema.optionalKey(Schema.Boolean),
  track_udp: Schema.optionalKey(Schema.Boolean),
  fwmark: Schema.optionalKey(whole("a mark", 1, 0xffff_ffff)),
  state: Schema.optionalKey(text(parsePostgresAddress)),
  site: Schema.optionalKey(text(values.parseIdentifier)),
  sites: Schema.optionalKey(Schema.Record(Schema.String, SiteFile)),
  advertise: Schema.optionalKey(text(values.parseAdvertised)),
  state_dir: Schema.optionalKey(text(values.parsePath(4000))),
  control_socket: Schema.optionalKey(text(values.parsePath(94))),
  device: Schema.optionalKey(text(values.parseDevice)),
  other_names: Schema.optionalKey(oneOf({ forward: "forward", refuse: "refuse" } as const)),
  log_dns: Schema.optionalKey(Schema.Boolean),
  listen_http: Schema.optionalKey(text(values.parseListenHttp)),
  metrics_per_client: Schema.optionalKey(Schema.Boolean),
  log_level: Schema.optionalKey(oneOf(logLevels)),
  reload: Schema.optionalKey(oneOf({ on_command: "on_command", on_change: "on_change" } as const)),
  log_format: Schema.optionalKey(oneOf({ human: "human", json: "json" } as const))
})
export type ConfigFile = typeof ConfigFile.Type

/** Every key that the file may have, wherever; all others are names. */
export const fileKeys: ReadonlySet<string> = new Set(
  [
    ConfigFile,
    ClientFile,
    ResourceFile,
    ZoneFile,
    RecordFile,
    TestFile,
    NetworkFile,
    SiteFile,
    ResolverSetFile
  ].flatMap(({ fields }) => Object.keys(fields))
)
