/**
 * The budgets of lookups and the queue in front of them. No clock: `now` is monotonic milliseconds. A client's
 * lookups that a packet or a question waits for go before its others, and first lookups before refreshes, but for one in five, so that names that moved are found however many new ones come; clients
 * and resolver sets take turns, so that one client's backlog delays nobody else.
 * A client's rate holds against a resolver that is slow or dead: a lookup that was answered quickly gives back what it took,
 * up to a rate of its own, so that a client with many names waits for its resolver only.
 * Of the places in flight no client takes more than it leaves free, and one whose lookups hung lately none of the last fifth:
 * however many names of however many clients hang, the next client finds a place.
 */

export interface LookupLimits {
  /** Lookups per second, and how many at once after a quiet time. */
  readonly gatewayRate: number
  readonly gatewayBurst: number
  readonly clientRate: number
  readonly clientBurst: number
  /** Lookups per second that quick answers give back to a client, and how many at once: as fast as it may ask. */
  readonly quickRate: number
  readonly quickBurst: number
  readonly inFlight: number
  readonly inFlightPerResolver: number
  readonly inFlightPerClient: number
}

export const defaultLimits: LookupLimits = {
  gatewayRate: 1_000,
  gatewayBurst: 2_000,
  clientRate: 10,
  clientBurst: 100,
  quickRate: 100,
  quickBurst: 500,
  inFlight: 1_000,
  inFlightPerResolver: 250,
  inFlightPerClient: 64
}

/** A lookup that waits for its turn or has it. */
export interface Job {
  readonly client: string
  readonly resolver: string
  readonly first: boolean
}

/** Which budget stops a lookup; each has a counter `brake.<name>`. */
export type Budget = "gateway_rate" | "client_rate" | "gateway_in_flight" | "resolver_in_flight" | "client_in_flight"

/** Whether the client itself has used it up; the others are shared, and a place in them is only a matter of time. */
export const isOwn = (budget: Budget): boolean => budget === "client_rate" || budget === "client_in_flight"

interface Bucket {
  tokens: number
  at: number
}

interface ClientBucket extends Bucket {
  /** What quick answers may give back. */
  readonly quick: Bucket
  /** When a lookup of the client last ended that had hung. */
  hungAt: number
}

/** An answer within this time is a quick one. */
const quickMs = 500
/** A lookup that takes so long hangs: whoever waited for it has been told by then. */
const hangMs = 2_000
/** A client is known for so long by its lookups that hung. */
const hungForMs = 600_000
/** What of the places in flight is for such clients. */
const shareOfHung = 0.8

/** One client's jobs of one class at one resolver set. */
interface Lane<J> {
  readonly client: string
  /** Somebody waits for these. */
  readonly urgent: Array<J>
  readonly others: Array<J>
}

/**
 * The jobs of one class, by resolver set and client; those served last are last. A set that is busy is passed over as a
 * whole: behind a dead one thousands of clients may wait.
 */
type Line<J> = Map<string, Map<string, Lane<J>>>

export class LookupQueue<J extends Job> {
  private readonly limits: LookupLimits
  /** First lookups, and what somebody waits for. */
  private readonly firsts: Line<J> = new Map()
  private readonly refreshes: Line<J> = new Map()
  private readonly clients = new Map<string, ClientBucket>()
  private readonly gateway: Bucket
  private readonly running = {
    total: 0,
    client: new Map<string, number>(),
    resolver: new Map<string, number>(),
    /** By both. */
    lane: new Map<string, number>(),
    /** Since when. */
    jobs: new Map<J, number>()
  }
  private pruneAt = 1_024
  /** First lookups that were taken in a row. */
  private firstsInARow = 0

  constructor(limits: LookupLimits = defaultLimits) {
    this.limits = limits
    this.gateway = { tokens: limits.gatewayBurst, at: Number.NEGATIVE_INFINITY }
  }

  /** Behind the client's other jobs of its class; `urgent`: a packet or a question waits for it. */
  offer(job: J, urgent: boolean = false): void {
    const line = urgent || job.first ? this.firsts : this.refreshes
    let lanes = line.get(job.resolver)
    if (lanes === undefined) {
      lanes = new Map()
      line.set(job.resolver, lanes)
    }
    let lane = lanes.get(job.client)
    if (lane === undefined) {
      lane = { client: job.client, urgent: [], others: [] }
      lanes.set(job.client, lane)
    }
    const jobs = urgent ? lane.urgent : lane.others
    jobs.push(job)
  }

  /** A queued job that somebody waits for from now on. */
  promote(job: J): void {
    if (this.firsts.get(job.resolver)?.get(job.client)?.urgent.includes(job) === true) return
    this.cancel(job)
    this.offer(job, true)
  }

  /** Takes a job out of the queue that has not been taken by `next`. */
  cancel(job: J): void {
    for (const line of [this.firsts, this.refreshes]) {
      const lanes = line.get(job.resolver)
      const lane = lanes?.get(job.client)
      if (lanes === undefined || lane === undefined) continue
      for (const jobs of [lane.urgent, lane.others]) {
        const i = jobs.indexOf(job)
        if (i >= 0) jobs.splice(i, 1)
      }
      if (lengthOf(lane) > 0) continue
      lanes.delete(job.client)
      if (lanes.size === 0) line.delete(job.resolver)
    }
  }

  /** The next job that every budget lets through, already charged to them; `finish` gives its place back. */
  next(now: number): J | undefined {
    if (this.stoppedForAll(now) !== null) return undefined
    const { firsts, refreshes } = this
    for (const line of this.firstsInARow < mostFirsts ? [firsts, refreshes] : [refreshes, firsts]) {
      for (const [resolver, lanes] of line) {
        if (this.isBusy(resolver)) continue
        for (const lane of lanes.values()) {
          if (this.stopped(lane.client, resolver, now) !== null) continue
          const job = (lane.urgent.length > 0 ? lane.urgent : lane.others).shift()!
          this.firstsInARow = line === firsts ? this.firstsInARow + 1 : 0
          serveLast(line, resolver, lane)
          this.charge(job, now)
          return job
        }
      }
    }
    return undefined
  }

  /** @param answered by a resolver, be it that the name does not exist */
  finish(job: J, now: number, answered: boolean): void {
    const took = now - this.running.jobs.get(job)!
    if (took >= hangMs) this.bucketOf(job.client, now).hungAt = now
    if (answered && took <= quickMs) this.giveBack(this.bucketOf(job.client, now), now)
    this.running.jobs.delete(job)
    this.running.total--
    decrement(this.running.client, job.client)
    decrement(this.running.resolver, job.resolver)
    decrement(this.running.lane, laneOf(job.client, job.resolver))
  }

  /** The budget that stops a lookup of this client at this resolver set just now. */
  stopped(client: string, resolver: string, now: number): Budget | null {
    const everyone = this.stoppedForAll(now)
    if (everyone !== null) return everyone
    if (this.isBusy(resolver)) return "resolver_in_flight"
    if (this.hung(client, now)) {
      const { limits, running } = this
      if (running.total >= limits.inFlight * shareOfHung) return "gateway_in_flight"
      if (this.inFlight(resolver) >= limits.inFlightPerResolver * shareOfHung) return "resolver_in_flight"
    }
    if (this.hasItsShare(client, resolver)) return "client_in_flight"
    return this.clientTokens(client, now) < 1 ? "client_rate" : null
  }

  /** When a rate lets a queued job through that nothing else stops; `null`: not before some job has finished. */
  nextAt(now: number): number | null {
    const everyone = this.stoppedForAll(now)
    if (this.firsts.size + this.refreshes.size === 0 || everyone === "gateway_in_flight") return null
    if (everyone === "gateway_rate") return now + wait(this.gateway.tokens, this.limits.gatewayRate)
    let soonest: number | null = null
    for (const [resolver, lanes] of [...this.firsts, ...this.refreshes]) {
      if (this.isBusy(resolver)) continue
      for (const { client } of lanes.values()) {
        const budget = this.stopped(client, resolver, now)
        if (budget !== null && budget !== "client_rate") continue
        const at = budget === null ? now : now + wait(this.clientTokens(client, now), this.limits.clientRate)
        if (soonest === null || at < soonest) soonest = at
      }
    }
    return soonest
  }

  get queued(): number {
    let n = 0
    for (const lanes of [...this.firsts.values(), ...this.refreshes.values()]) {
      for (const lane of lanes.values()) n += lengthOf(lane)
    }
    return n
  }

  private stoppedForAll(now: number): Budget | null {
    if (this.running.total >= this.limits.inFlight) return "gateway_in_flight"
    refill(this.gateway, this.limits.gatewayRate, this.limits.gatewayBurst, now)
    return this.gateway.tokens < 1 ? "gateway_rate" : null
  }

  private hasItsShare(client: string, resolver: string): boolean {
    const { limits, running } = this
    const own = running.client.get(client) ?? 0
    if (own >= limits.inFlightPerClient || own >= limits.inFlight - running.total) return true
    const left = limits.inFlightPerResolver - this.inFlight(resolver)
    return (running.lane.get(laneOf(client, resolver)) ?? 0) >= left
  }

  private clientTokens(client: string, now: number): number {
    const bucket = this.clients.get(client)
    if (bucket === undefined) return this.limits.clientBurst
    refill(bucket, this.limits.clientRate, this.limits.clientBurst, now)
    return bucket.tokens
  }

  private bucketOf(client: string, now: number): ClientBucket {
    let bucket = this.clients.get(client)
    if (bucket === undefined) {
      this.prune(now)
      const quick = { tokens: this.limits.quickBurst, at: now }
      bucket = { tokens: this.limits.clientBurst, at: now, quick, hungAt: Number.NEGATIVE_INFINITY }
      this.clients.set(client, bucket)
    }
    return bucket
  }

  private giveBack(bucket: ClientBucket, now: number): void {
    const { clientBurst, quickBurst, quickRate } = this.limits
    const { quick } = bucket
    refill(quick, quickRate, quickBurst, now)
    if (quick.tokens < 1) return
    quick.tokens--
    bucket.tokens = Math.min(clientBurst, bucket.tokens + 1)
  }

  private hung(client: string, now: number): boolean {
    const bucket = this.clients.get(client)
    return bucket !== undefined && now - bucket.hungAt < hungForMs
  }

  private charge(job: J, now: number): void {
    this.bucketOf(job.client, now).tokens--
    this.gateway.tokens--
    this.running.jobs.set(job, now)
    this.running.total++
    increment(this.running.client, job.client)
    increment(this.running.resolver, job.resolver)
    increment(this.running.lane, laneOf(job.client, job.resolver))
  }

  /** A full bucket of a client that nothing is known of says nothing; forgetting it keeps the table as large as the number of recent clients. */
  private prune(now: number): void {
    if (this.clients.size < this.pruneAt) return
    for (const client of this.clients.keys()) {
      const isFull = this.clientTokens(client, now) >= this.limits.clientBurst
      if (isFull && !this.hung(client, now)) this.clients.delete(client)
    }
    this.pruneAt = Math.max(1_024, this.clients.size * 2)
  }

  private inFlight(resolver: string): number {
    return this.running.resolver.get(resolver) ?? 0
  }

  private isBusy(resolver: string): boolean {
    return this.inFlight(resolver) >= this.limits.inFlightPerResolver
  }
}

/** After so many first lookups in a row a refresh has its turn. */
const mostFirsts = 4

const lengthOf = <J>({ others, urgent }: Lane<J>): number => urgent.length + others.length

/** Sets and their clients take turns. */
const serveLast = <J>(line: Line<J>, resolver: string, lane: Lane<J>): void => {
  const lanes = line.get(resolver)!
  lanes.delete(lane.client)
  if (lengthOf(lane) > 0) lanes.set(lane.client, lane)
  line.delete(resolver)
  if (lanes.size > 0) line.set(resolver, lanes)
}

const laneOf = (client: string, resolver: string): string => `${resolver}\n${client}`

const refill = (bucket: Bucket, rate: number, burst: number, now: number): void => {
  if (now <= bucket.at) return
  const gained = ((now - bucket.at) / 1_000) * rate
  bucket.tokens = Math.min(burst, bucket.tokens + gained)
  bucket.at = now
}

/** Whole milliseconds until one token is there. */
const wait = (tokens: number, rate: number): number => Math.max(1, Math.ceil(((1 - tokens) / rate) * 1_000))

const increment = (counts: Map<string, number>, key: string): void => {
  counts.set(key, (counts.get(key) ?? 0) + 1)
}

const decrement = (counts: Map<string, number>, key: string): void => {
  const n = (counts.get(key) ?? 0) - 1
  if (n > 0) counts.set(key, n)
  else counts.delete(key)
}
