/** Clients that come to `sallyport.yaml` and go from it. A result that would mean anything else than that is refused. */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { maxSites } from "../shared/slotZones.ts"
import { assignAddresses } from "./assignAddresses.ts"
import { insertPair, removePair } from "./editYaml.ts"
import type { ConfiguredClient, GatewayConfig } from "./GatewayConfig.ts"
import { parseConfig } from "./parseConfig.ts"
import { ConfigError, configError, quote } from "./problem.ts"
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
    const sites = before.sites === null ? 1 : maxSites
    const tunnel_ipv4 = assignAddresses(before.network.tunnel4, claims("tunnel4"), sites)?.at(-1)
    const tunnel_ipv6 = assignAddresses(before.network.tunnel6, claims("tunnel6"), sites)?.at(-1)
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
    const without = removePair(text, ["clients", name])
    const value = valueOf(text)
    if (without === null || value === null) return yield* byHand(text, file)
    const { [name]: _, ...others } = value.clients ?? {}
    const removed = yield* Result.mapError(checked(without, { ...value, clients: others }, text, file), (error) => {
      const { message } = Result.match(parseConfig(inPlace(text, without), file), {
        onSuccess: () => error,
        onFailure: (problem) => problem
      })
      return new ConfigError({
        message: `without ${name} the file would be wrong, and stays as it is: ${firstOf(message)}`
      })
    })
    const shifted = shiftedFrom(before, removed.config)
    if (shifted.length === 0) return removed
    let rest = without
    const pinned: Record<string, unknown> = { ...others }
    for (const { id, tunnel4, tunnel6 } of shifted) {
      const fixed = { tunnel_ipv4: tunnel4, tunnel_ipv6: tunnel6 }
      pinned[id] = { ...others[id], ...fixed }
      for (const [key, address] of Object.entries(fixed)) {
        if (others[id]?.[key] !== undefined) continue
        const next = insertPair(rest, ["clients", id], key, JSON.stringify(address))
        if (next === null) return yield* byHand(text, file)
        rest = next
      }
    }
    return yield* checked(rest, { ...value, clients: pinned }, text, file)
  })

/** The text with blanks where something was removed, so that all else has its line and column. */
const inPlace = (before: string, after: string): string => {
  let from = 0
  while (from < after.length && before[from] === after[from]) from++
  let behind = 0
  while (behind < after.length - from && before.at(-1 - behind) === after.at(-1 - behind)) behind++
  const removed = before.slice(from, before.length - behind)
  const end = after.length - behind
  return after.slice(0, end) + removed.replaceAll(/[^\r\n]/g, " ") + after.slice(end)
}

/** Lines as one. */
const firstOf = (lines: string): string => {
  const [first = "", ...others] = lines.split("\n")
  return others.length === 0 ? first : `${first} (and ${others.length} more)`
}

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
    const value = valueOf(text)
    if (added === null || value === null) return yield* byHand(text, file)
    return yield* checked(added, { ...value, clients: { ...value.clients, [name]: entry } }, text, file)
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

/** What the text says, as it stands there; `null`: nothing that has clients. */
const valueOf = (text: string): typeof File.Type | null => {
  const source = parseYaml(text)
  return Result.isSuccess(source) && isFile(source.success.value) ? source.success.value : null
}

/** The result must say what the file said but for the one change, and be right. */
const checked = (text: string, expected: unknown, before: string, file: string): Result.Result<Edited, ConfigError> =>
  canonical(valueOf(text)) === canonical(expected)
    ? Result.map(parseConfig(text, file), (config) => ({ text, config }))
    : byHand(before, file)

/** Without regard to the order of keys. */
const canonical = (value: unknown): string =>
  JSON.stringify(value, (_, each: unknown) =>
    typeof each === "object" && each !== null && !Array.isArray(each)
      ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1)))
      : each
  )

const byHand = (text: string, file: string): Result.Result<never, ConfigError> => {
  const { line, column } = Result.match(parseYaml(text), {
    onSuccess: ({ locate }) => locate(["clients"], true),
    onFailure: () => ({ line: 1, column: 1 })
  })
  const cause = "clients is written in a way that this command cannot change without a mistake"
  return Result.fail(configError(file, [{ line, column, cause, fix: "edit it by hand" }]))
}

const fail = (message: string): Result.Result<never, ConfigError> => Result.fail(new ConfigError({ message }))
