/**
 * What mappings and refreshes must do, written a second time and as plainly as possible: lookups take no time, delays
 * have no jitter, the resolver always answers. Times are milliseconds since the start.
 */
export type Reply = ReadonlyArray<string> | "NameNotFound"

export type ModelCause = "Unmapped" | "Unanswered" | "Unreachable" | "Stale"

interface Name {
  readonly mappings: Set<string>
  lookups: number
  answer: Reply
  /** Lookups in a row without news. */
  stale: number
  /** No lookup before. */
  allowedAt: number
  freshUntil: number
  /** A remembered cause runs at. */
  wakeAt: number | null
  lookedAt: number
  repliedAt: number
  resetAt: number
}

export interface ModelWorld {
  readonly reply: (domain: string) => Reply
  readonly ttlMs: number
  /** Two domains of one client must not share one of these. */
  readonly proxyOf: (domain: string) => number
}

export class RefreshModel {
  now = 0
  lookups = 0
  private readonly world: ModelWorld
  private readonly names = new Map<string, Name>()

  constructor(world: ModelWorld) {
    this.world = world
  }

  subscribe(client: string, domain: string): void {
    for (const other of this.names.keys()) {
      if (other !== domain && this.world.proxyOf(other) === this.world.proxyOf(domain)) this.release(client, other)
    }
    const known = this.names.get(domain)
    if (known === undefined) {
      const name: Name = {
        mappings: new Set([client]),
        lookups: 0,
        answer: [],
        stale: 0,
        allowedAt: -Infinity,
        freshUntil: -Infinity,
        wakeAt: null,
        lookedAt: -Infinity,
        repliedAt: -Infinity,
        resetAt: -Infinity
      }
      this.names.set(domain, name)
      this.lookUp(domain, name)
      return
    }
    known.mappings.add(client)
    if (this.now >= known.freshUntil) this.want(domain, known, false)
  }

  release(client: string, domain: string): void {
    const name = this.names.get(domain)
    name?.mappings.delete(client)
    if (name?.mappings.size === 0) this.names.delete(domain)
  }

  traffic(client: string, domain: string, cause: ModelCause): void {
    const name = this.names.get(domain)
    if (name?.mappings.has(client) === true)
      this.want(domain, name, cause === "Stale" && name.repliedAt > name.lookedAt)
  }

  answered(client: string, domain: string): void {
    const name = this.names.get(domain)
    if (name?.mappings.has(client) !== true) return
    name.repliedAt = this.now
    if (this.now - name.resetAt < 60_000) return
    name.resetAt = this.now
    name.stale = 0
    name.allowedAt = Math.min(name.allowedAt, this.now)
  }

  advance(ms: number): void {
    const end = this.now + ms
    for (;;) {
      const due = [...this.names].filter(([, name]) => name.wakeAt !== null && name.wakeAt <= end)
      const [next] = due.sort(([, a], [, b]) => a.wakeAt! - b.wakeAt!)
      if (next === undefined) break
      this.now = next[1].wakeAt!
      this.lookUp(...next)
    }
    this.now = end
  }

  /** What every mapping, `client domain`, leads to. */
  get view(): ReadonlyMap<string, Reply> {
    const view = new Map<string, Reply>()
    for (const [domain, name] of this.names) {
      for (const client of name.mappings) view.set(`${client} ${domain}`, name.answer)
    }
    return view
  }

  private want(domain: string, name: Name, ttlOfHealthyHost: boolean): void {
    if (this.now >= name.allowedAt || ttlOfHealthyHost) this.lookUp(domain, name)
    else name.wakeAt ??= name.allowedAt
  }

  private lookUp(domain: string, name: Name): void {
    const before = name.answer
    const first = name.lookups === 0
    name.answer = this.world.reply(domain)
    name.lookups++
    this.lookups++
    const changed = first || String(before) !== String(name.answer)
    if (changed && this.now - name.resetAt >= 60_000) {
      name.resetAt = this.now
      name.stale = 1
    } else {
      name.stale++
    }
    name.allowedAt = this.now + Math.min(60_000, 1_000 * 2 ** (name.stale - 1))
    name.freshUntil = name.answer === "NameNotFound" ? this.now : this.now + this.world.ttlMs
    name.lookedAt = this.now
    name.wakeAt = null
  }
}
