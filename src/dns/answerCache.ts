/** What other servers answered, for as long as they allow. Pure; times are monotonic milliseconds. */
import type { ExtendedError } from "./extendedError.ts"
import type { Message, ResourceRecord } from "./message.ts"
import { maxTtl } from "./query.ts"
import { rcode, recordType } from "./registry.ts"
import type { UpstreamQuestion } from "./Upstream.ts"

/** How long an answer may serve beyond its TTL, and the TTL that it then has in seconds (RFC 8767 §4; shorter than there). */
const maxStaleMs = 30_000
const staleTtl = 1
/** An absence is believed for no longer, in seconds (RFC 2308 §5 suggests one to three hours). */
const maxNegativeTtl = 3_600
/** A failure is remembered for this long (RFC 9520 §3.2: at least a second). */
const failureMs = 1_000
/** Longer answers are rare enough to be asked for again. */
const maxEntryBytes = 65_536

export type Cached =
  /** TTLs are what is left of them. */
  | { readonly _tag: "Fresh"; readonly message: Message }
  /** Past its TTL, for at most 30 s. `failed`: the servers were asked just now, in vain. */
  | { readonly _tag: "Stale"; readonly message: Message; readonly failed: boolean }
  /** No answer is known, and the servers were asked just now, in vain. */
  | { readonly _tag: "Failed"; readonly error: ExtendedError }

interface Entry {
  readonly message: Message | null
  readonly storedAt: number
  readonly expiresAt: number
  readonly bytes: number
  failure: { readonly error: ExtendedError; readonly until: number } | null
}

/**
 * The least recently used entry goes first, by number and by bytes (estimated, as they lie in memory). Answers are kept as
 * they came: what of them a client may be told is decided each time they are served.
 */
export class AnswerCache {
  private readonly entries = new Map<string, Entry>()
  private readonly bounds: { readonly maxEntries: number; readonly maxBytes: number }
  private bytes = 0

  constructor(bounds: { readonly maxEntries: number; readonly maxBytes: number }) {
    this.bounds = bounds
  }

  get usage(): { readonly entries: number; readonly bytes: number } {
    return { entries: this.entries.size, bytes: this.bytes }
  }

  find(key: string, now: number): Cached | undefined {
    const entry = this.entries.get(key)
    if (entry === undefined) return undefined
    this.entries.delete(key)
    this.entries.set(key, entry)
    const { expiresAt, failure, message, storedAt } = entry
    const failed = failure !== null && now < failure.until
    if (message !== null && now < expiresAt) return { _tag: "Fresh", message: aged(message, (now - storedAt) / 1_000) }
    if (message !== null && now < expiresAt + maxStaleMs) return { _tag: "Stale", message: stale(message), failed }
    if (failed) return { _tag: "Failed", error: failure.error }
    this.forget(key)
    return undefined
  }

  /** Keeps an answer, unless it may not be kept; what was known before goes either way. */
  put(key: string, type: number, message: Message, now: number): void {
    const lifetime = lifetimeOf(type, message)
    if (lifetime <= 0) return this.forget(key)
    this.set(key, {
      message: shortened(message, lifetime),
      storedAt: now,
      expiresAt: now + lifetime * 1_000,
      bytes: bytesOf(key, message),
      failure: null
    })
  }

  /** The servers gave no answer; one that is known goes on serving while it may. */
  putFailure(key: string, error: ExtendedError, now: number): void {
    const failure = { error, until: now + failureMs }
    const known = this.entries.get(key)
    if (known !== undefined) known.failure = failure
    else this.set(key, { message: null, storedAt: now, expiresAt: now, bytes: bytesOf(key, null), failure })
  }

  private set(key: string, entry: Entry): void {
    this.forget(key)
    if (entry.bytes > maxEntryBytes) return
    this.entries.set(key, entry)
    this.bytes += entry.bytes
    if (this.entries.size <= this.bounds.maxEntries && this.bytes <= this.bounds.maxBytes) return
    // Some at a time: each look for the oldest walks over the places of those that went since the map was made anew.
    const maxEntries = this.bounds.maxEntries - (this.bounds.maxEntries >>> 6)
    const maxBytes = this.bounds.maxBytes - (this.bounds.maxBytes >>> 6)
    for (const oldest of this.entries.keys()) {
      if (this.entries.size <= maxEntries && this.bytes <= maxBytes) return
      this.forget(oldest)
    }
  }

  private forget(key: string): void {
    this.bytes -= this.entries.get(key)?.bytes ?? 0
    this.entries.delete(key)
  }
}

/** Questions with the same key get the same answer from the servers. */
export const questionKey = (set: string, question: UpstreamQuestion): string => {
  const { authenticData, checkingDisabled, dnssecOk, domain, type } = question
  const flags = (dnssecOk === true ? 4 : 0) | (checkingDisabled === true ? 2 : 0) | (authenticData === true ? 1 : 0)
  return `${set} ${type} ${flags} ${domain}`
}

/** Seconds that an answer may be kept; 0: it may not. An absence lives as its zone's SOA record says (RFC 2308 §5). */
const lifetimeOf = (type: number, { answers, authorities, rcode: code, truncated }: Message): number => {
  if (truncated || (code !== rcode.NoError && code !== rcode.NXDomain)) return 0
  let lifetime = maxTtl
  for (const { ttl } of answers) lifetime = Math.min(lifetime, ttl)
  for (const { ttl } of authorities) lifetime = Math.min(lifetime, ttl)
  if (code === rcode.NoError && answers.some((record) => record.type === type)) return lifetime
  const soa = authorities.find(({ data }) => data._tag === "Soa")
  return soa?.data._tag === "Soa" ? Math.min(lifetime, soa.data.minimum, maxNegativeTtl) : 0
}

/** As it is kept: clients go by the TTL of the SOA record, too, and what is beside the answer may end before it. */
const shortened = (message: Message, lifetime: number): Message => ({
  ...message,
  authorities: message.authorities.map((record) =>
    record.type === recordType.SOA ? { ...record, ttl: Math.min(record.ttl, lifetime) } : record
  ),
  additionals: message.additionals.filter(({ ttl }) => ttl > 0)
})

const aged = (message: Message, seconds: number): Message => {
  const gone = Math.floor(seconds)
  if (gone === 0) return message
  const left = (record: ResourceRecord): ResourceRecord => ({ ...record, ttl: record.ttl - gone })
  return {
    ...message,
    answers: message.answers.map(left),
    authorities: message.authorities.map(left),
    additionals: message.additionals.filter(({ ttl }) => ttl > gone).map(left)
  }
}

const stale = (message: Message): Message => {
  const short = (record: ResourceRecord): ResourceRecord => ({ ...record, ttl: staleTtl })
  const { answers, authorities } = message
  return { ...message, answers: answers.map(short), authorities: authorities.map(short), additionals: [] }
}

/** Objects, arrays and the map's place, as far as they can be known. */
const entryBytes = 400
const recordBytes = 160

const bytesOf = (key: string, message: Message | null): number => {
  let bytes = entryBytes + key.length
  if (message === null) return bytes
  for (const section of [message.answers, message.authorities, message.additionals]) {
    for (const { data, name } of section) {
      bytes += recordBytes + name.length
      if (data._tag === "Raw") bytes += data.bytes.length
      else if (data._tag === "Address") bytes += data.address.length
      else bytes += data._tag === "Name" ? data.name.length : data.mname.length + data.rname.length
    }
  }
  return bytes
}
