/** Clients that come to `sallyport.yaml` and go from it. A result that would mean anything else than that is refused. */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { assignAddresses } from "./assignAddresses.ts"
import { insertPair, removePair } from "./editYaml.ts"
import type { ConfiguredClient, GatewayConfig } from "./GatewayConfig.ts"
import { parseConfig } from "./parseConfig.ts"
import { ConfigError, quote } from "./problem.ts"
import { suggestFix } from "./suggest.ts"
import { keyBytes } from "./values.ts"
import { parseYaml } from "./yamlSource.ts"

export interface NewClient {
  readonly name: string
  readonly publicKey: string
  readonly presharedKey: string | null
  readonly groups: ReadonlyArray<string>
}

export interface Edited {
  readonly text: string
  readonly config: GatewayConfig
}

/** The file with one client more. */
export const addClient = (text: string, file: string, client: NewClient): Result.Result<Edited, ConfigError> =>
  Result.gen(function* () {
    const before = yield* parseConfig(text, file)
    if (before.clients.some(({ id }) => id === client.name)) {
      return yield* fail(`${file} has a client ${quote(client.name)} already — take another name, or remove it first`)
    }
    const entry = {
      public_key: client.publicKey,
      ...(client.presharedKey === null ? {} : { preshared_key: client.presharedKey }),
      ...(client.groups.length === 0 ? {} : { groups: client.groups })
    }
    const added = yield* insertClient(text, file, client.name, entry)
    const shifted = shiftedFrom(before, added.config)
    if (shifted.length === 0) return added
    // Its key falls on the address of another, which must stay: it gets a free one.
    const claims = (key: "tunnel4" | "tunnel6") => [
      ...before.clients.map((other) => ({ publicKey: keyBytes(other.publicKey)!, fixed: other[key] })),
      { publicKey: keyBytes(client.publicKey)!, fixed: undefined }
    ]
    const tunnel_ipv4 = assignAddresses(before.network.tunnel4, claims("tunnel4"))?.at(-1)
    const tunnel_ipv6 = assignAddresses(before.network.tunnel6, claims("tunnel6"))?.at(-1)
    return yield* insertClient(text, file, client.name, { ...entry, tunnel_ipv4, tunnel_ipv6 })
  })

/** The file without a client. Others whose addresses that would change keep them: they are written down. */
export const removeClient = (text: string, file: string, name: string): Result.Result<Edited, ConfigError> =>
  Result.gen(function* () {
    const before = yield* parseConfig(text, file)
    if (!before.clients.some(({ id }) => id === name)) {
      const fix = suggestFix(
        name,
        before.clients.map(({ id }) => id),
        "it has none"
      )
      return yield* fail(`no client is called ${quote(name)} in ${file} — ${fix}`)
    }
    let rest = removePair(text, ["clients", name])
    if (rest === null) return yield* byHand(file)
    const value = yield* valueOf(text, file)
    const { [name]: _, ...others } = value.clients ?? {}
    const removed = yield* Result.mapError(
      checked(rest, file, { ...value, clients: others }),
      ({ message }) =>
        new ConfigError({ message: `without ${name} the file would be wrong, and stays as it is:\n${message}` })
    )
    const shifted = shiftedFrom(before, removed.config)
    if (shifted.length === 0) return removed
    const pinned: Record<string, unknown> = { ...others }
    for (const { id, tunnel4, tunnel6 } of shifted) {
      const fixed = { tunnel_ipv4: tunnel4, tunnel_ipv6: tunnel6 }
      pinned[id] = { ...others[id], ...fixed }
      for (const [key, address] of Object.entries(fixed)) {
        if (others[id]?.[key] !== undefined) continue
        rest = insertPair(rest, ["clients", id], key, JSON.stringify(address))
        if (rest === null) return yield* byHand(file)
      }
    }
    return yield* checked(rest, file, { ...value, clients: pinned })
  })

/** The clients as they were before whose addresses are others after. */
const shiftedFrom = (before: GatewayConfig, after: GatewayConfig): ReadonlyArray<ConfiguredClient> => {
  const now = new Map(after.clients.map((client) => [client.id, client]))
  return before.clients.filter(({ id, tunnel4, tunnel6 }) => {
    const client = now.get(id)
    return client !== undefined && (client.tunnel4 !== tunnel4 || client.tunnel6 !== tunnel6)
  })
}

const insertClient = (text: string, file: string, name: string, entry: Readonly<Record<string, unknown>>) =>
  Result.gen(function* () {
    const fields = Object.entries(entry).map(([key, value]) => `${key}: ${flow(value)}`)
    const added = insertPair(text, ["clients"], plainOrQuoted(name), `{ ${fields.join(", ")} }`)
    if (added === null) return yield* byHand(file)
    const value = yield* valueOf(text, file)
    return yield* checked(added, file, { ...value, clients: { ...value.clients, [name]: entry } })
  })

const flow = (value: unknown): string =>
  Array.isArray(value) ? `[${value.map((each) => plainOrQuoted(String(each))).join(", ")}]` : JSON.stringify(value)

/** Words that YAML takes for something else than text are quoted. */
const plainOrQuoted = (word: string): string =>
  /^[A-Za-z][A-Za-z0-9._-]*$/.test(word) && !/^(?:true|false|null|yes|no|on|off|y|n)$/i.test(word)
    ? word
    : JSON.stringify(word)

const File = Schema.Struct({
  clients: Schema.optionalKey(Schema.Record(Schema.String, Schema.Record(Schema.String, Schema.Unknown)))
})
const isFile = Schema.is(File)

/** What the text says, as it stands there. */
const valueOf = (text: string, file: string): Result.Result<typeof File.Type, ConfigError> => {
  const source = parseYaml(text)
  return Result.isSuccess(source) && isFile(source.success.value) ? Result.succeed(source.success.value) : byHand(file)
}

/** The result must be right, and say what the file said but for the one change. */
const checked = (text: string, file: string, expected: unknown): Result.Result<Edited, ConfigError> =>
  Result.gen(function* () {
    const config = yield* parseConfig(text, file)
    const value = yield* valueOf(text, file)
    if (canonical(value) !== canonical(expected)) return yield* byHand(file)
    return { text, config }
  })

/** Without regard to the order of keys. */
const canonical = (value: unknown): string =>
  JSON.stringify(value, (_, each: unknown) =>
    typeof each === "object" && each !== null && !Array.isArray(each)
      ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1)))
      : each
  )

const byHand = (file: string) =>
  fail(`${file} is written in a way that this command cannot change without a mistake — edit clients by hand`)

const fail = (message: string): Result.Result<never, ConfigError> => Result.fail(new ConfigError({ message }))
