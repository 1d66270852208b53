/** The YAML file of the development portal. */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaParser from "effect/SchemaParser"
import { text, whole } from "../../config/fields.ts"
import { type Examples, issueProblems } from "../../config/issueProblems.ts"
import { type ConfigError, configError, type Problem, quote } from "../../config/problem.ts"
import { checkName, type Report } from "../../config/report.ts"
import { suggestFix } from "../../config/suggest.ts"
import * as values from "../../config/values.ts"
import { parseYaml } from "../../config/yamlSource.ts"
import type { SocketAddress } from "../../model/SocketAddress.ts"
import { formatHostPort } from "../../packet/endpoint.ts"
import { parseAddress } from "../../packet/address.ts"
import { uuidOf } from "./identity.ts"
import type { DeviceGroup, PortalConfig, PortalRelay, PortalResource } from "./PortalConfig.ts"

/** Text of a portal's file to a checked configuration, or all that is wrong with it. */
export const parsePortalConfig = (content: string, file: string): Result.Result<PortalConfig, ConfigError> => {
  const source = parseYaml(content)
  if (Result.isFailure(source)) return Result.fail(configError(file, source.failure))
  const decoded = decode(source.success.value)
  if (Result.isFailure(decoded)) {
    return Result.fail(configError(file, issueProblems(decoded.failure, source.success, examples)))
  }
  const problems: Array<Problem> = []
  const report: Report = (path, cause, fix, key = false) =>
    void problems.push({ ...source.success.locate(path, key), cause, fix })
  const config = resolve(decoded.success, report)
  return problems.length > 0 ? Result.fail(configError(file, problems)) : Result.succeed(config)
}

const parseToken = (value: string): values.Parsed<string> =>
  /^[\x21-\x7e]{1,1024}$/.test(value)
    ? Result.succeed(value)
    : Result.fail({ cause: "not a token", fix: "use 1 to 1024 printable characters without spaces" })

const parseServer =
  (port: number | null) =>
  (value: string): values.Parsed<SocketAddress> => {
    const server = values.parseHostPort(value, port)
    return Result.isSuccess(server) && parseAddress(server.success.host) !== undefined
      ? Result.succeed({ address: server.success.host, port: server.success.port })
      : Result.fail({
          cause: `${quote(value)} is not an address with a port`,
          fix: "write for example 192.0.2.1:3478 or [2001:db8::1]:3478"
        })
  }

/** One relay, as in the file and in the command that replaces all. */
export const RelayFile = Schema.Struct({
  addresses: Schema.Array(text(parseServer(null))),
  username: Schema.optionalKey(text(parseToken)),
  password: Schema.optionalKey(text(parseToken)),
  secret: Schema.optionalKey(text(parseToken)),
  lifetime: Schema.optionalKey(whole("a time in seconds", 1, 10 ** 9))
})
export type RelayFile = typeof RelayFile.Type

const GroupFile = Schema.Struct({ token: text(parseToken) })

const ResourceFile = Schema.Struct({
  name: Schema.optionalKey(text(values.parsePattern)),
  cidr: Schema.optionalKey(text(values.parseNetworkText)),
  internet: Schema.optionalKey(Schema.Boolean),
  ports: Schema.optionalKey(Schema.Array(text(values.parsePortFilter))),
  gateways: Schema.optionalKey(Schema.Array(text(values.parseIdentifier))),
  allow: Schema.optionalKey(Schema.Array(text(values.parseIdentifier)))
})

const PortalFile = Schema.Struct({
  listen: text((value) => values.parseHostPort(value, null)),
  admin_socket: Schema.optionalKey(text(values.parsePath(94))),
  state_file: Schema.optionalKey(text(values.parsePath(4000))),
  gateways: Schema.Record(Schema.String, GroupFile),
  clients: Schema.Record(Schema.String, GroupFile),
  resources: Schema.Record(Schema.String, ResourceFile),
  relays: Schema.optionalKey(Schema.Record(Schema.String, RelayFile)),
  relay_token: Schema.optionalKey(text(parseToken)),
  version_gate: Schema.optionalKey(Schema.Boolean),
  expires_after: Schema.optionalKey(whole("a time in seconds", 1, 10 ** 9)),
  upstream_dns: Schema.optionalKey(Schema.Array(text(parseServer(53)))),
  reconcile: Schema.optionalKey(Schema.Boolean)
})
type PortalFile = typeof PortalFile.Type

const decode = SchemaParser.decodeUnknownResult(PortalFile, {
  errors: "all",
  onExcessProperty: "error",
  reportInput: true
})

const examples: Examples = {
  none: "write listen:, gateways:, clients: and resources:, each at the start of a line",
  keys: {
    listen: "listen: 127.0.0.1:8081",
    gateways: "gateways: { office: { token: gateway-secret } }",
    clients: "clients: { alice: { token: client-secret } }",
    resources: "resources: { gitlab: { name: gitlab.corp.internal, ports: [tcp/443] } }",
    relays: 'relays: { coturn: { addresses: ["192.0.2.1:3478"], username: u, password: p } }',
    addresses: 'addresses: ["192.0.2.1:3478", "[2001:db8::1]:3478"]'
  }
}

const maxEntries = 1000
const defaultLifetime = 14 * 86_400

const resolve = (file: PortalFile, report: Report): PortalConfig => {
  const gateways = groupsOf("site", "gateways", file.gateways, report)
  const clients = groupsOf("user", "clients", file.clients, report)
  const tokens = new Set<string>()
  for (const [key, groups] of [["gateways", gateways] as const, ["clients", clients] as const]) {
    for (const group of groups) {
      if (tokens.has(group.token)) {
        report([key, group.name, "token"], "this token is used twice", "give each group its own: it tells them apart")
      }
      tokens.add(group.token)
    }
  }
  return {
    listen: file.listen,
    adminSocket: file.admin_socket ?? null,
    stateFile: file.state_file ?? null,
    gateways,
    clients,
    resources: resourcesOf(file, report),
    relays: entriesOf("relays", file.relays ?? {}, report).map(([name, relay]) => {
      const problem = relayProblem(relay)
      if (problem !== null) report(["relays", name], problem.cause, problem.fix, true)
      return relayOf(name, relay)
    }),
    relayToken: file.relay_token ?? null,
    versionGate: file.version_gate ?? false,
    expiresAfter: file.expires_after ?? null,
    upstreamDns: (file.upstream_dns ?? []).map(({ address, port }) => formatHostPort(address, port)),
    reconcile: file.reconcile ?? true
  }
}

const entriesOf = <A>(key: string, record: Readonly<Record<string, A>>, report: Report) => {
  const entries = Object.entries(record)
  for (const [name] of entries) checkName(name, [key, name], report)
  if (entries.length <= maxEntries) return entries
  report([key], `more than ${maxEntries} entries`, "this portal is for development and tests", true)
  return []
}

const groupsOf = (
  kind: "site" | "user",
  key: string,
  record: PortalFile["gateways"],
  report: Report
): ReadonlyArray<DeviceGroup> => {
  const entries = entriesOf(key, record, report)
  if (entries.length === 0) report([key], `no ${key}`, `write for example ${examples.keys[key]}`, true)
  return entries.map(([name, { token }]) => ({ id: uuidOf(kind, name), name, token }))
}

const resourcesOf = (file: PortalFile, report: Report): ReadonlyArray<PortalResource> => {
  const known = { gateways: Object.keys(file.gateways), allow: Object.keys(file.clients) }
  return entriesOf("resources", file.resources, report).map(([name, entry]) => {
    for (const key of ["gateways", "allow"] as const) {
      for (const [i, who] of (entry[key] ?? []).entries()) {
        if (known[key].includes(who)) continue
        const where = key === "allow" ? "clients" : "gateways"
        report(["resources", name, key, i], `${quote(who)} is none of the ${where}`, suggestFix(who, known[key], ""))
      }
    }
    const what = [entry.name, entry.cidr, entry.internet === true ? true : undefined].filter((x) => x !== undefined)
    if (what.length !== 1) {
      report(["resources", name], `${name} must have one of name, cidr and internet: true`, "keep one of them", true)
    }
    const kind = entry.name !== undefined ? "dns" : entry.cidr !== undefined ? "cidr" : "internet"
    return {
      id: uuidOf("resource", name),
      name,
      kind,
      address: entry.name ?? entry.cidr ?? null,
      filters: entry.ports ?? [],
      gateways: entry.gateways ?? known.gateways,
      allow: entry.allow ?? known.allow
    }
  })
}

/** What is wrong with a relay as a whole; `null` when nothing is. */
export const relayProblem = (relay: RelayFile): values.Complaint | null => {
  const families = relay.addresses.map(({ address }) => address.includes(":"))
  if (families.length === 0) return { cause: "a relay without addresses", fix: `write ${examples.keys["addresses"]}` }
  if (new Set(families).size !== families.length) {
    return { cause: "two addresses of one family", fix: "make two relays of them" }
  }
  const fixed = relay.username !== undefined && relay.password !== undefined
  const either = relay.username !== undefined || relay.password !== undefined
  return (fixed && relay.secret === undefined) || (!either && relay.secret !== undefined)
    ? null
    : { cause: "a relay needs username and password, or secret", fix: "write username: u and password: p" }
}

/** Only for what has no `relayProblem`. */
export const relayOf = (name: string, relay: RelayFile): PortalRelay => ({
  id: uuidOf("relay", name),
  name,
  addresses: relay.addresses,
  credentials:
    relay.secret === undefined
      ? { username: relay.username ?? "", password: relay.password ?? "" }
      : { secret: relay.secret, lifetimeSeconds: relay.lifetime ?? defaultLifetime }
})
