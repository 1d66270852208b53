/**
 * Several gateways over one engine, of one site or of two, as far as slots are concerned: around the gateways' own code for
 * slots a disk, an engine and what goes between them, as plainly as possible. Each rule can be left out, to see what it is for.
 */
import { assert } from "@effect/vitest"
import * as Result from "effect/Result"
import { type NameEntry, slotsOf } from "../../src/control/standalone/nameTable.ts"
import { proxyIpsOf, slotCapacity, slotOf } from "../../src/control/standalone/proxyPool.ts"
import { Slots } from "../../src/control/standalone/Slots.ts"
import { ClientId } from "../../src/model/Client.ts"
import { defaultRanges } from "../../src/model/defaultRanges.ts"
import { ResourceId } from "../../src/model/Resource.ts"
import { parseNetwork } from "../../src/packet/address.ts"
import { extendDirectory, placeName } from "../../src/shared/directory.ts"
import { deadlineMs, SiteSource } from "../../src/shared/SiteSource.ts"
import { type SlotSpan, slotZones } from "../../src/shared/slotZones.ts"

export const hour = 3_600_000

const layoutOf = (proxy4: string, sites: number, numbers: ReadonlyArray<number>) => {
  const ranges = { proxy4: parseNetwork(proxy4)!, proxy6: parseNetwork(defaultRanges.proxy6)! }
  const zones = Result.getOrThrow(slotZones(slotCapacity(ranges), sites, 4))
  const names = Array.from({ length: sites }, (_, site) => site)
  return {
    ranges,
    zones,
    sites: names,
    blocks: names.flatMap((site) => {
      const { from, to } = zones.blocks(site)
      return Array.from({ length: to - from }, (_, i) => from + i)
    }),
    /** Of the gateways. */
    numbers,
    /** By each policy most names are served by the second site where there are two, and some move. */
    siteOf: (domain: string, policy: number) => (sites > 1 && domain.charCodeAt(0) % 4 !== policy ? 1 : 0)
  }
}
type Layout = ReturnType<typeof layoutOf>
/** Four blocks of eight slots, 16 slots for exact names, four own zones of four slots. */
export const oneSite = layoutOf("10.9.0.0/24", 1, [0, 0, 0])
/** The second one has as much. */
export const twoSites = layoutOf("10.9.0.0/22", 2, [1, 1, 0])
/** Names of a client that a gateway knows: with more the least recently used makes room. */
const limit = 4
const app = ResourceId.make("app")

export const rules = {
  /** What others gave is forgotten a day after the site was last read. */
  deadline: true,
  /** A released slot rests for two days. */
  rest: true,
  /** The rest begins when the removal is read back from the engine. */
  readBack: true,
  /** Reservations are on the disk before they are used. */
  durable: true,
  /** So is what was read. */
  durableRead: true,
  /** A gateway that does not find the history that it has read gives back what it has. */
  heal: true,
  /** Directory and leases grow only when all gateways have signed in since the engine started. */
  barrier: true,
  /** Who is the first to sign in at an engine that nobody has written to for a day takes all names out. */
  void: true
}
export type Rules = typeof rules

interface Row {
  readonly client: string
  readonly slot: number
  readonly domain: string
  readonly lastUsedAt: number
}

const keyOf = ({ client, slot }: Pick<Row, "client" | "slot">): string => `${client} ${slot}`

interface Tables {
  /** Their numbers are the places. */
  readonly gateways: Array<string>
  /** Block to gateway. */
  readonly leases: Map<number, string>
  readonly directory: Map<string, number>
  readonly rows: Map<string, Row & { readonly gone: boolean; readonly revision: number }>
  readonly revisions: Array<{ readonly token: number; readonly at: number }>
}

class Engine {
  tables: Tables = {
    gateways: [],
    leases: new Map(),
    directory: new Map(),
    rows: new Map(),
    revisions: [{ token: 0, at: 0 }]
  }
  /** Empty whenever it starts. */
  readonly signedIn = new Set<string>()
  isAway = false
  private backup = structuredClone(this.tables)
  private tokens = 0

  revise(at: number): number {
    return this.tables.revisions.push({ token: ++this.tokens, at })
  }

  restart(): void {
    this.signedIn.clear()
  }

  backUp(): void {
    this.backup = structuredClone(this.tables)
  }

  /** A backup of before a gateway joined is none that one may restore. */
  restore(): void {
    const { gateways } = this.tables
    this.tables = { ...structuredClone(this.backup), gateways }
    this.restart()
  }

  get mayGrow(): boolean {
    return this.tables.gateways.every((id) => this.signedIn.has(id))
  }
}

/** What a gateway's state keeps. */
class Disk {
  /** In the order in which they came. */
  spans: ReadonlyArray<SlotSpan> = []
  next = new Map<string, number>()
  rows = new Map<string, Row & { readonly isSent: boolean }>()
  /** Since when by the engine's clock; `null`: its removal was not read back. */
  rested = new Map<string, Row & { readonly since: number | null }>()
  directory: ReadonlyMap<string, number> = new Map()
  cursor: { readonly revision: number; readonly token: number } | null = null
  /** By the gateway's clock, and by the engine's. */
  readAt = Number.NEGATIVE_INFINITY
  engineDate = Number.NEGATIVE_INFINITY

  copy(): Disk {
    const { next, rested, rows } = this
    const own = { next: new Map(next), rows: new Map(rows), rested: new Map(rested) }
    return Object.assign(new Disk(), this, own)
  }
}

class Gateway {
  isRunning = true
  reachesEngine = true
  policy = 0
  private readonly id: string
  private readonly site: Site
  private readonly clockError: number
  readonly number: number
  private disk = new Disk()
  private onDisk = new Disk()
  private source: SiteSource
  private slots = new Map<string, Slots>()

  constructor(id: string, site: Site, number: number, clockError: number) {
    this.id = id
    this.site = site
    this.number = number
    this.clockError = clockError
    this.source = new SiteSource(site.layout.zones, number)
  }

  /** What packets that come here are translated for. */
  served(client: string): ReadonlyArray<string> {
    return this.of(client)
      .named()
      .flatMap(({ translated }) => translated)
  }

  siteOf(domain: string): number {
    return this.site.layout.siteOf(domain, this.policy)
  }

  /** Whom each of the client's slots stands for here. */
  translations(client: string): ReadonlyMap<number, string> {
    return new Map(
      this.of(client)
        .named()
        .flatMap((entry) => slotsOf(entry).map((slot) => [slot, entry.domain]))
    )
  }

  get directory(): ReadonlyMap<string, number> {
    return this.disk.directory
  }

  /** The slot that the client is told; `undefined` where this gateway has none left. */
  ask(client: string, domain: string): number | undefined {
    const { disk } = this
    const slots = this.of(client)
    const site = this.siteOf(domain)
    const counted = `${site} ${client}`
    for (;;) {
      const step = slots.assign(app, domain, this.date, site)
      switch (step._tag) {
        case "Reserve": {
          const first = disk.next.get(counted) ?? 0
          disk.next.set(counted, first + step.count)
          this.sync("durable")
          slots.reserved(first, step.count, site)
          break
        }
        case "TakeRested": {
          const before = this.site.rules.rest ? step.before : Number.POSITIVE_INFINITY
          const [longest] = [...disk.rested.values()]
            .filter((row) => row.client === client && row.since !== null && row.since <= before)
            .filter(({ slot }) => this.source.siteOf(slot) === site)
            .toSorted((a, b) => a.since! - b.since!)
          if (longest === undefined) {
            const size = this.source.size(site)
            assert.isAtLeast(disk.next.get(counted) ?? 0, size, "no name goes without while there are slots")
            return undefined
          }
          disk.rested.delete(keyOf(longest))
          this.sync("durable")
          slots.rested(longest.slot)
          break
        }
        case "Named": {
          if (step.released !== undefined) this.release(client, step.released)
          const { slot } = step.entry
          const row = { client, slot, domain, lastUsedAt: this.date, isSent: false }
          if (disk.directory.get(placeName(domain, site)) !== slot) disk.rows.set(keyOf(row), row)
          return slot
        }
      }
    }
  }

  crash(powerLoss: boolean): void {
    this.isRunning = false
    if (powerLoss) this.disk = this.onDisk.copy()
  }

  start(): void {
    if (this.isRunning) return
    this.isRunning = true
    this.source = new SiteSource(this.site.layout.zones, this.number)
    this.slots = new Map()
    for (const span of this.disk.spans) this.source.hold(span)
    this.source.read(this.disk.directory, this.disk.engineDate)
    this.look()
    for (const row of [...this.disk.rows.values()].toSorted((a, b) => a.lastUsedAt - b.lastUsedAt)) this.learn(row)
  }

  /** Time has gone by. */
  look(): void {
    const since = this.date - this.disk.readAt
    if (!this.isRunning || !this.site.rules.deadline || (since >= 0 && since < deadlineMs)) return
    this.forgetOthers()
    this.disk.cursor = null
  }

  /** So many steps of it, the answer of the last of which may get lost. */
  exchange(count: number, isLost: boolean): void {
    if (!this.isRunning || !this.reachesEngine || this.site.engine.isAway) return
    const steps = [() => this.signIn(), () => this.write(), () => this.lease(), () => this.extend(), () => this.read()]
    for (const [i, step] of steps.slice(0, count).entries()) {
      const take = step()
      if (!isLost || i < count - 1) take()
    }
  }

  /** With each connection. */
  private signIn(): () => void {
    const { engine, now, rules } = this.site
    const { tables } = engine
    if (rules.void && engine.signedIn.size === 0 && now - tables.revisions.at(-1)!.at >= deadlineMs) {
      const revision = engine.revise(now)
      for (const [key, row] of tables.rows) tables.rows.set(key, { ...row, gone: true, revision })
    }
    engine.signedIn.add(this.id)
    if (!tables.gateways.includes(this.id)) {
      tables.gateways.push(this.id)
      engine.revise(now)
    }
    if (!rules.heal || this.hasItsHistory()) return () => {}
    const { blocks, zones } = this.site.layout
    for (const { from } of this.disk.spans) {
      const no = blocks.find((each) => zones.block(each).from === from)
      if (no === undefined) continue
      assert.include([undefined, this.id], tables.leases.get(no), "a block is leased to one gateway")
      tables.leases.set(no, this.id)
    }
    const taken = new Map([...tables.directory].map(([domain, slot]) => [slot, domain]))
    for (const [domain, slot] of this.disk.directory) {
      assert.include([undefined, domain], taken.get(slot), "a slot of the directory is one name's")
      tables.directory.set(domain, slot)
    }
    engine.revise(now)
    return () => {
      for (const [key, row] of this.disk.rows) {
        if (this.source.owns(row.slot)) this.disk.rows.set(key, { ...row, isSent: false })
      }
    }
  }

  private hasItsHistory(): boolean {
    const { cursor } = this.disk
    return cursor !== null && this.site.engine.tables.revisions[cursor.revision - 1]?.token === cursor.token
  }

  private write(): () => void {
    const { engine, now, rules } = this.site
    const { rows } = engine.tables
    const put = [...this.disk.rows.values()].filter(({ isSent }) => !isSent)
    const gone = [...this.disk.rested.values()].filter(({ since }) => since === null || !rules.readBack)
    if (put.length + gone.length === 0) return () => {}
    const revision = engine.revise(now)
    const refused: Array<Row> = []
    for (const row of put) {
      const before = rows.get(keyOf(row))
      if (before === undefined || before.gone || before.domain === row.domain) {
        rows.set(keyOf(row), { ...row, gone: false, revision })
      } else refused.push(row)
    }
    for (const row of gone) rows.set(keyOf(row), { ...row, gone: true, revision })
    return () => {
      for (const row of refused) {
        this.site.contradictions++
        this.disk.rows.delete(keyOf(row))
        this.of(row.client).forget(row.slot)
      }
    }
  }

  private lease(): () => void {
    const { engine, now, rules } = this.site
    const { leases } = engine.tables
    const { blocks, sites, zones } = this.site.layout
    const isTaken = this.held().length === this.disk.spans.length
    for (const site of sites) {
      const { from, to } = zones.blocks(site)
      const free = blocks.find((no) => no >= from && no < to && !leases.has(no))
      const counts = [...this.disk.next].flatMap(([counted, next]) => (counted.startsWith(`${site} `) ? [next] : []))
      const isDue = this.source.wantsMore(Math.max(0, ...counts), site)
      if (!isTaken || free === undefined || !isDue || (!engine.mayGrow && rules.barrier)) continue
      leases.set(free, this.id)
      engine.revise(now)
    }
    return () => {}
  }

  private held(): ReadonlyArray<SlotSpan> {
    const { gateways, leases } = this.site.engine.tables
    const { sites, zones } = this.site.layout
    const leased = [...leases].filter(([, id]) => id === this.id).map(([no]) => zones.block(no))
    return [...sites.map((site) => zones.own(gateways.indexOf(this.id), site)), ...leased]
  }

  private extend(): () => void {
    const { engine, now, rules } = this.site
    const { directory } = engine.tables
    if (!engine.mayGrow && rules.barrier) return () => {}
    const { ranges, sites, zones } = this.site.layout
    const isUsable = (slot: number) => proxyIpsOf(slot, ranges) !== undefined
    for (const site of sites) {
      const served = policies[this.policy]!.filter((domain) => this.siteOf(domain) === site)
      const names = served.map((domain) => placeName(domain, site))
      for (const { domain, slot } of extendDirectory(directory, names, zones.exact(site), isUsable)) {
        directory.set(domain, slot)
        engine.revise(now)
      }
    }
    return () => {}
  }

  private read(): () => void {
    const { engine, now } = this.site
    const { tables } = engine
    const { disk } = this
    const isAnew = !this.hasItsHistory()
    const changes = [...tables.rows.values()].filter(({ revision }) => isAnew || revision > disk.cursor!.revision)
    const directory = new Map(tables.directory)
    const held = this.held()
    const cursor = { revision: tables.revisions.length, token: tables.revisions.at(-1)!.token }
    return () => {
      if (isAnew) this.forgetOthers()
      for (const { client, domain, gone, lastUsedAt, slot } of changes.toSorted((a, b) => a.revision - b.revision)) {
        const row = { client, slot, domain, lastUsedAt }
        if (this.source.owns(slot)) this.readOwn(row, gone)
        else if (gone) {
          disk.rows.delete(keyOf(row))
          this.of(client).forget(slot)
        } else {
          disk.rows.set(keyOf(row), { ...row, isSent: true })
          this.learn(row)
        }
      }
      for (const span of held)
        if (!disk.spans.some(({ from }) => from === span.from)) disk.spans = [...disk.spans, span]
      Object.assign(disk, { directory, cursor, readAt: this.date, engineDate: now })
      this.sync("durableRead")
      for (const span of disk.spans) this.source.hold(span)
      this.source.read(directory, now)
    }
  }

  /** What is its own it knows better; but for what a power loss took. */
  private readOwn(row: Row, gone: boolean): void {
    const key = keyOf(row)
    const { rested, rows } = this.disk
    const known = rows.get(key)
    const resting = rested.get(key)
    if (resting !== undefined) rested.set(key, { ...resting, since: gone ? (resting.since ?? this.site.now) : null })
    else if (known !== undefined) rows.set(key, { ...known, isSent: !gone && known.domain === row.domain })
    else if (!gone) {
      rows.set(key, { ...row, isSent: true })
      this.learn(row)
    }
  }

  private learn(row: Row): void {
    const slots = this.of(row.client)
    let learned = slots.learn({ ...row, resource: app })
    if (learned?._tag === "Contradicted") {
      this.site.contradictions++
      slots.forget(row.slot)
      learned = slots.learn({ ...row, resource: app })
    }
    if (learned?._tag === "Named" && learned.released !== undefined) this.release(row.client, learned.released)
  }

  private release(client: string, entry: NameEntry): void {
    const since = this.site.rules.readBack ? null : this.site.now
    for (const slot of slotsOf(entry)) {
      const key = keyOf({ client, slot })
      this.disk.rows.delete(key)
      if (this.source.owns(slot))
        this.disk.rested.set(key, { client, slot, domain: entry.domain, lastUsedAt: this.date, since })
    }
  }

  private forgetOthers(): void {
    for (const [key, { slot }] of this.disk.rows) if (this.source.isOthers(slot)) this.disk.rows.delete(key)
    for (const slots of this.slots.values()) {
      for (const slot of slots.named().flatMap(slotsOf)) if (this.source.isOthers(slot)) slots.forget(slot)
    }
  }

  private of(client: string): Slots {
    let slots = this.slots.get(client)
    if (slots === undefined) {
      slots = new Slots(ClientId.make(client), this.site.layout.ranges, limit, this.source)
      this.slots.set(client, slots)
    }
    return slots
  }

  private get date(): number {
    return this.site.now + this.clockError
  }

  private sync(rule: "durable" | "durableRead"): void {
    if (this.site.rules[rule]) this.onDisk = this.disk.copy()
  }
}

export const clients = ["alice", "bob"]
export const domains = Array.from("abcdefghijklmnopqrst", (name) => `${name}.corp`)
/** Exact names by the policy's version: more in all than there are slots, so that they are in each other's way. */
const policies = [domains.slice(0, 8), domains.slice(4, 12).toReversed(), domains.slice(8, 18), domains.slice(2, 6)]

export class Site {
  now = 1_000 * hour
  readonly rules: Rules
  readonly layout: Layout
  readonly engine = new Engine()
  readonly gateways: ReadonlyArray<Gateway>
  /** How often the second lock was needed. */
  contradictions = 0
  private told: Array<Pick<Row, "client" | "slot" | "domain"> & { readonly at: number }> = []

  constructor(of: Rules = rules, layout: Layout = oneSite, ids: ReadonlyArray<string> = ["first", "second", "third"]) {
    this.rules = of
    this.layout = layout
    this.gateways = ids.map((id, n) => new Gateway(id, this, layout.numbers[n]!, [0, 5 * hour, -300 * hour][n]!))
  }

  advance(ms: number): void {
    this.now += ms
    this.told = this.told.filter(({ at }) => this.now - at < deadlineMs)
    for (const gateway of this.gateways) gateway.look()
  }

  ask(client: string, domain: string, n: number): void {
    const gateway = this.gateways[n]!
    if (!gateway.isRunning) return
    const slot = gateway.ask(client, domain)
    if (slot === undefined) return
    const site = gateway.siteOf(domain)
    const exact = gateway.directory.get(placeName(domain, site))
    assert.strictEqual(slot, exact ?? slot, "an exact name has the directory's slot")
    assert.strictEqual(this.layout.zones.siteOf(slot), site, "the address leads to the site that serves the name")
    this.told.push({ client, slot, domain, at: this.now })
  }

  /** No slot stands for two names of a client at a time, and an exact name has one slot at all gateways that have read it. */
  check(): void {
    const running = this.gateways.filter(({ isRunning }) => isRunning)
    for (const client of clients) {
      const owners = new Map<number, string>()
      const stands = (slot: number, domain: string, where: string | number) => {
        const owner = owners.get(slot) ?? domain
        if (owner !== domain) assert.fail(`slot ${slot} of ${client} stands for ${owner} and ${domain} (${where})`)
        owners.set(slot, domain)
      }
      for (const { client: whom, domain, slot } of this.told) if (whom === client) stands(slot, domain, "told")
      for (const [n, gateway] of running.entries()) {
        for (const [slot, domain] of gateway.translations(client)) stands(slot, domain, n)
        for (const [name, slot] of gateway.directory) stands(slot, name.split(" ")[0]!, n)
        const { ranges, zones } = this.layout
        for (const ip of gateway.served(client)) {
          const site = zones.siteOf(slotOf(ip, ranges))
          assert.strictEqual(site, gateway.number, "packets to other sites are translated there")
        }
      }
    }
    const exact = new Map<string, number>()
    for (const [domain, slot] of running.flatMap(({ directory }) => [...directory])) {
      if ((exact.get(domain) ?? slot) !== slot) assert.fail(`${domain} has two slots in the directory`)
      exact.set(domain, slot)
    }
    assert.strictEqual(this.contradictions, 0, "the second lock is not needed")
  }
}
