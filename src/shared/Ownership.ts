/**
 * Which gateway of a site each client is at, and which one calls it when that gateway is gone. All gateways judge by the
 * same evidence: the client's own timestamps (TAI64N) and, between equal ones, the engine's clock; their own clocks measure
 * spans only. Pure: `now` is monotonic milliseconds.
 */
import type { AboutGateway } from "./aboutGateway.ts"
import type { KnownEndpoint } from "../dataplane/commands.ts"
import type { ClientState } from "../dataplane/notices.ts"
import type { ClientId } from "../model/Client.ts"
import { type Heartbeat, type Hello, isFresh, maxTold, type Meeting, type Sighting } from "./meeting.ts"

/** A client whose last handshake was so long before its gateway's end had no session there (WireGuard's REJECT_AFTER_TIME). */
const activeMs = 180_000
/** Who has not met the site for so long does not know what has become of it meanwhile. */
const gapMs = 2_000
/** After that the others have so long to come back to the engine, too, before one of them counts as silent. */
const settleMs = 15_000
/** The engine's clock was set if it has gone so much faster or slower than ours from one meeting to the next. */
const stepMs = 1_000
/** The packet engine has called everybody whom it was told to call after so long. */
const callingMs = 60_000
/** A client that changes gateways more often within a minute is told of. */
const mostMoves = 6
const minuteMs = 60_000
/** So long, and so many of them, what others have seen is remembered. */
const rememberedMs = 86_400_000
const maxSightings = 262_144

/** What is to be done after a meeting. */
export interface Decision {
  /** They are at other gateways: nobody calls them unless they send. */
  readonly tell: ReadonlyArray<KnownEndpoint>
  /** To be called, who was there last first. */
  readonly call: ReadonlyArray<KnownEndpoint>
  /** Clients of this gateway's life before are to be called (`resume`). */
  readonly resumes: boolean
  /** Gateways that are silent: whoever the engine makes their heir calls their clients (`inherit`). */
  readonly heirless: ReadonlyArray<number>
  /** What was seen elsewhere of so many devices found no room. */
  readonly omitted: number
  /** Other gateways that say that they have the virtual address, which this one has. */
  readonly rivals: ReadonlyArray<number>
  /** The client that has changed gateways most often within the last minute, and how many others have done so too often; once a minute. */
  readonly flapping: { readonly client: ClientId; readonly moves: number; readonly others: number } | null
}

export interface SiteReport {
  /** The last meeting, by the engine's clock and by the monotonic one; `null`: there was none yet. */
  readonly met: { readonly dateMs: number; readonly now: number } | null
  readonly gateways: ReadonlyArray<{
    readonly gateway: number
    /** It is this one. */
    readonly own: boolean
    readonly alive: boolean
    readonly heardAt: number
    readonly clients: number
    readonly master: boolean
    readonly draining: boolean
    readonly about: AboutGateway | null
  }>
  /** Of clients that are at another gateway. */
  readonly owners: ReadonlyMap<ClientId, number>
}

interface Own {
  state: ClientState
  /** The last handshake in this life, and when it was by the engine's clock, once that is known. */
  handshakeAt: number | null
  date: number | null
}

export class Ownership {
  private gateway = -1
  /** Of this life; `null`: it has not met the site yet. */
  private epoch: number | null = null
  /** Of the policy's clients, by public key. */
  private names: ReadonlyMap<string, ClientId> = new Map()
  private readonly own = new Map<ClientId, Own>()
  private connected = 0
  /** The newest evidence of each device from elsewhere, be it from this gateway's life before. By public key, as all below. */
  private readonly others = new Map<string, Sighting>()
  private readonly owners = new Map<string, number>()
  private readonly moves = new Map<string, Array<number>>()
  /** Told to the packet engine to be called: when, and who ends it by being back. */
  private readonly calling = new Map<string, { readonly at: number; readonly until: number | null }>()
  /** What is to be said, and what has been said without an answer yet. */
  private untold = new Set<ClientId>()
  private saying: ReadonlySet<ClientId> = new Set()
  /** New in the policy: where they are is to be told, if it is known. */
  private added = new Set<string>()
  private known = new Map<number, number>()
  private heartbeats: ReadonlyMap<number, Heartbeat> = new Map()
  /** The last one of each gateway that was ever heard of: the engine may lose them. */
  private readonly lastBeats = new Map<number, number>()
  /** What became of this gateway's life before. */
  private lastLife: Heartbeat | null = null
  /** Whether the virtual address is here; the site is to be told so; all clients that are not here are to be called. */
  private address: "here" | "elsewhere" | null = null
  private claim: "none" | "due" | "said" = "none"
  /** It gives its clients away. */
  private isDraining = false
  private takesOver = false
  /** The clients of its life before are to be called. */
  private resumes = true
  private omitted = 0
  /** Silent gateways whose heir it has become in this life. */
  private readonly inherited = new Set<number>()
  /** The last meeting, by both clocks; and since when there was no break, by the engine's. */
  private met: { readonly now: number; readonly dateMs: number } | null = null
  private attentiveSince = Number.POSITIVE_INFINITY
  private flappingAt = Number.NEGATIVE_INFINITY
  private forgottenAt = Number.NEGATIVE_INFINITY

  /** Who may connect from now on. */
  follow(clients: ReadonlyArray<{ readonly id: ClientId; readonly publicKey: string }>): void {
    const before = this.names
    this.names = new Map(clients.map(({ id, publicKey }) => [publicKey, id]))
    for (const [key, name] of this.names) if (before.get(key) !== name) this.added.add(key)
  }

  /** The packet engine's word. */
  observe(state: ClientState): void {
    const known = this.own.get(state.client)
    const isSame = known?.state.publicKey === state.publicKey
    this.connected += Number(state.connected) - Number(known?.state.connected ?? false)
    if (known !== undefined && isSame && (state.handshakeAt === null || state.handshakeAt === known.handshakeAt)) {
      known.state = state
    } else this.own.set(state.client, { state, handshakeAt: state.handshakeAt, date: null })
    this.untold.add(state.client)
  }

  leave(client: ClientId): void {
    this.connected -= Number(this.own.get(client)?.state.connected ?? false)
    this.own.delete(client)
  }

  /** The virtual address has come here, or is not here. Yields whom to call no more. */
  move(address: "here" | "elsewhere"): ReadonlyArray<KnownEndpoint> {
    const isHere = address === "here"
    this.address = address
    this.claim = isHere ? "due" : "none"
    this.takesOver = isHere
    return isHere ? [] : this.withdraw(() => true)
  }

  /** It gives its clients away, or does so no more. Yields whom to call no more. */
  drain(isDraining: boolean): ReadonlyArray<KnownEndpoint> {
    this.isDraining = isDraining
    return this.mayCall() ? [] : this.withdraw(() => true)
  }

  /** The policy's clients with a session here and none that is newer elsewhere. */
  get here(): number {
    return [...this.names].filter(([key, client]) => this.own.get(client)?.state.connected === true && this.isHere(key))
      .length
  }

  /** There is more to say than was said last. */
  get hasNews(): boolean {
    return this.untold.size > 0 || this.claim === "due"
  }

  /** All is said and read again: the engine may have lost it. */
  again(): void {
    this.known.clear()
    this.untold = new Set(this.own.keys())
  }

  /** What to say now, what was said without an answer included. */
  hello(gateway: number, port: number): Omit<Hello, "about" | "address"> {
    this.gateway = gateway
    for (const client of this.saying) this.untold.add(client)
    if (this.claim === "said") this.claim = "due"
    const sightings: Array<Sighting> = []
    const saying = new Set<ClientId>()
    for (const client of this.untold) {
      // When it was seen can be said once the engine's clock is known.
      if (this.met === null || sightings.length === maxTold) break
      this.untold.delete(client)
      saying.add(client)
      const sighting = this.seenHere(client)
      if (sighting !== undefined) sightings.push(sighting)
    }
    this.saying = saying
    const master = this.claim === "due" ? "claim" : this.address === "here" ? "keep" : "no"
    if (this.claim === "due") this.claim = "said"
    const { connected: clients, epoch, isDraining: draining, known } = this
    return { gateway, epoch, clients, master, port, draining, sightings, known }
  }

  /** There was no answer by `now`. Yields whom to call no more: once that lasts, another gateway may call them. */
  miss(now: number): ReadonlyArray<KnownEndpoint> {
    if (this.met !== null && now - this.met.now < gapMs) return []
    const ended = this.withdraw(() => true)
    // They begin anew once there is one.
    if (ended.length > 0) this.takesOver = this.address === "here"
    return ended
  }

  /** The answer, which came at `now`. */
  see(meeting: Meeting, now: number): Decision {
    const { dateMs, last, read, sightings } = meeting
    this.attend(meeting, now)
    for (const client of this.saying) this.judge(this.own.get(client)?.state.publicKey)
    this.saying = new Set()
    if (this.claim === "said") this.claim = "none"
    this.omitted = 0
    const news = new Set(this.added)
    this.added.clear()
    for (const sighting of sightings) if (this.take(sighting)) news.add(sighting.publicKey)
    for (const [gateway, revision] of read) this.known.set(gateway, revision)
    if (last) this.known.set(this.gateway, Number.MAX_SAFE_INTEGER)
    this.forget()

    const mayCall = this.mayCall()
    const back = this.withdraw((until) => !mayCall || (until !== null && !this.isSilent(this.heartbeats.get(until))))
    const resumes = last && this.resumes && mayCall && !this.hasHeir()
    if (last) this.resumes = false
    const taken = last && mayCall && this.takesOver ? this.takeOver() : []
    const areTaken = new Set(taken.map(({ publicKey }) => publicKey))
    const tell = [...news].filter((key) => this.isElsewhere(key) && !areTaken.has(key))
    for (const key of tell) this.calling.delete(key)
    return {
      tell: [...back, ...this.endpoints(tell.map((key) => this.others.get(key)!))],
      call: this.endpoints(taken),
      resumes,
      heirless: last && mayCall ? this.heirless() : [],
      omitted: this.omitted,
      rivals: this.address === "here" ? this.masters().map(({ gateway }) => gateway) : [],
      flapping: this.flapping(dateMs)
    }
  }

  /**
   * Yields whom to call of the life before: those that sent to one of these addresses, which are the host's own. From another
   * one a call would get lost, or take the client to an address that does not move with the site's.
   */
  resume(addresses: ReadonlySet<string>): ReadonlyArray<KnownEndpoint> {
    const isDue = ({ gateway, publicKey }: Sighting) => gateway === this.gateway && !this.isHere(publicKey)
    return this.endpoints(this.toCall((one) => isDue(one) && addresses.has(one.local ?? ""), false))
  }

  /** The engine has made it the heir of those. Yields whom to call of their clients, as `resume` does. */
  inherit(gateways: ReadonlyArray<number>, addresses: ReadonlySet<string>): ReadonlyArray<KnownEndpoint> {
    if (!this.mayCall()) return []
    const ended = new Set(gateways)
    for (const gateway of ended) this.inherited.add(gateway)
    const isDue = ({ gateway, publicKey }: Sighting) => ended.has(gateway) && this.isElsewhere(publicKey)
    return this.endpoints(this.toCall((one) => isDue(one) && addresses.has(one.local ?? ""), true))
  }

  /**
   * Whether it may call anybody by itself: who has the virtual address may, and among several who got it last; all may as
   * long as nobody is known to have it.
   */
  mayCall(): boolean {
    if (this.address === "elsewhere" || (this.isDraining && this.isAccompanied())) return false
    const since = this.address === "here" ? (this.heartbeats.get(this.gateway)?.masterSince ?? null) : null
    return this.masters().every(
      ({ gateway, masterSince }) =>
        since !== null && (since > masterSince! || (since === masterSince && this.gateway > gateway))
    )
  }

  /** The site as this gateway knows it, by its own clock. */
  report(): SiteReport {
    const { met } = this
    if (met === null) return { met, gateways: [], owners: new Map() }
    const owners = new Map<ClientId, number>()
    for (const [key, client] of this.names) if (this.isElsewhere(key)) owners.set(client, this.others.get(key)!.gateway)
    const gateways = [...this.heartbeats.values()].map(({ about, at, clients, draining, gateway, masterSince }) => ({
      gateway,
      own: gateway === this.gateway,
      alive: isFresh(at, met.dateMs),
      heardAt: at - met.dateMs + met.now,
      clients,
      master: masterSince !== null,
      draining,
      about: about && { ...about, readAt: about.readAt && about.readAt - met.dateMs + met.now }
    }))
    return { met, gateways: gateways.toSorted((a, b) => a.gateway - b.gateway), owners }
  }

  private attend({ before, dateMs, epoch, heartbeats }: Meeting, now: number): void {
    const { met } = this
    const elapsed = met === null ? Number.POSITIVE_INFINITY : now - met.now
    if (met === null || elapsed > gapMs || Math.abs(dateMs - met.dateMs - elapsed) > stepMs)
      this.attentiveSince = dateMs
    this.met = { now, dateMs }
    if (this.epoch === null) this.lastLife = before
    this.epoch = epoch
    this.heartbeats = new Map(heartbeats.map((heartbeat) => [heartbeat.gateway, heartbeat]))
    for (const { at, gateway } of heartbeats) this.lastBeats.set(gateway, at)
    for (const gateway of this.inherited)
      if (!this.isSilent(this.heartbeats.get(gateway))) this.inherited.delete(gateway)
  }

  /** Whether it is evidence of where the device is, which it was not before. */
  private take(sighting: Sighting): boolean {
    const { epoch, gateway, publicKey } = sighting
    if (gateway === this.gateway && epoch === this.epoch) return false
    const best = this.others.get(publicKey)
    if (best === undefined && this.others.size >= maxSightings) {
      this.omitted++
      return false
    }
    if (best !== undefined && (best.gateway === gateway ? isSame(sighting, best) : !isNewer(sighting, best)))
      return false
    this.others.set(publicKey, sighting)
    this.judge(publicKey)
    return true
  }

  /** The device is where the newest evidence says. */
  private judge(publicKey: string | undefined): void {
    if (publicKey === undefined || !this.names.has(publicKey)) return
    const isHere = this.isHere(publicKey)
    if (isHere) this.calling.delete(publicKey)
    const owner = isHere ? this.gateway : this.others.get(publicKey)?.gateway
    const before = this.owners.get(publicKey)
    if (owner === undefined || owner === before) return
    this.owners.set(publicKey, owner)
    if (before === undefined) return
    const moves = this.moves.get(publicKey) ?? []
    this.moves.set(publicKey, [...moves.slice(-mostMoves), this.met!.dateMs])
  }

  /** The newest evidence of it is from this gateway, in this life. */
  private isHere(publicKey: string): boolean {
    const client = this.names.get(publicKey)
    const own = client === undefined ? undefined : this.seenHere(client)
    const other = this.others.get(publicKey)
    return own !== undefined && own.publicKey === publicKey && (other === undefined || isNewer(own, other))
  }

  private isElsewhere(publicKey: string): boolean {
    const other = this.others.get(publicKey)
    return other !== undefined && other.gateway !== this.gateway && !this.isHere(publicKey)
  }

  private seenHere(client: ClientId): Sighting | undefined {
    const own = this.own.get(client)
    if (own === undefined || own.handshakeAt === null || this.met === null || this.epoch === null) return undefined
    const { endpoint, lastTai64n, local, path, publicKey, sentTick } = own.state
    // The device is another client's by now, or nobody's: of each only one thing may be said at a time.
    if (this.names.get(publicKey) !== client) return undefined
    // A link-local address is another one at each host, and a path that ICE has found is nobody else's.
    if (endpoint === null || endpoint.interfaceIndex !== undefined || path !== undefined) return undefined
    own.date ??= own.handshakeAt + this.met.dateMs - this.met.now
    const { epoch, gateway } = this
    return { publicKey, gateway, epoch, endpoint, local, lastTai64n, sentTick, handshakeAt: own.date }
  }

  private isSilent(heartbeat: Heartbeat | undefined): boolean {
    const { dateMs } = this.met!
    return heartbeat === undefined || (!isFresh(heartbeat.at, dateMs) && dateMs - this.attentiveSince >= settleMs)
  }

  /** Another gateway lives, and drains not itself. */
  private isAccompanied(): boolean {
    return [...this.heartbeats.values()].some(
      (heartbeat) => heartbeat.gateway !== this.gateway && !heartbeat.draining && !this.isSilent(heartbeat)
    )
  }

  /** Others that have the virtual address. */
  private masters(): ReadonlyArray<Heartbeat> {
    return [...this.heartbeats.values()].filter(
      (heartbeat) => heartbeat.gateway !== this.gateway && heartbeat.masterSince !== null && !this.isSilent(heartbeat)
    )
  }

  /** Another gateway calls the clients of the life before. */
  private hasHeir(): boolean {
    const heir = this.lastLife?.heir ?? null
    return heir !== null && !this.isSilent(this.heartbeats.get(heir))
  }

  private takeOver(): ReadonlyArray<Sighting> {
    this.takesOver = false
    return this.toCall(({ publicKey }) => !this.isHere(publicKey), false)
  }

  private heirless(): ReadonlyArray<number> {
    return [...this.heartbeats.values()].flatMap((heartbeat) => {
      const { gateway, heir } = heartbeat
      if (gateway === this.gateway || !this.isSilent(heartbeat)) return []
      const isDue =
        heir === this.gateway ? !this.inherited.has(gateway) : heir === null || this.isSilent(this.heartbeats.get(heir))
      return isDue ? [gateway] : []
    })
  }

  /** Of those the ones with a session at the end of their gateway, the latest first. */
  private toCall(among: (sighting: Sighting) => boolean, untilBack: boolean): ReadonlyArray<Sighting> {
    const { dateMs } = this.met!
    const chosen: Array<Sighting> = []
    for (const sighting of this.others.values()) {
      const end = sighting.gateway === this.gateway ? this.lastLife?.at : this.lastBeats.get(sighting.gateway)
      if (!among(sighting) || this.calling.has(sighting.publicKey) || (end ?? dateMs) - sighting.handshakeAt > activeMs)
        continue
      chosen.push(sighting)
      this.calling.set(sighting.publicKey, { at: dateMs, until: untilBack ? sighting.gateway : null })
    }
    return chosen.toSorted((a, b) => b.handshakeAt - a.handshakeAt)
  }

  private withdraw(isOver: (until: number | null) => boolean): ReadonlyArray<KnownEndpoint> {
    const over: Array<Sighting> = []
    for (const [key, { until }] of this.calling) {
      if (!isOver(until)) continue
      this.calling.delete(key)
      over.push(this.others.get(key)!)
    }
    return this.endpoints(over)
  }

  private endpoints(sightings: ReadonlyArray<Sighting>): ReadonlyArray<KnownEndpoint> {
    return sightings.flatMap(({ endpoint, lastTai64n, local, publicKey, sentTick }) => {
      const client = this.names.get(publicKey)
      return client === undefined ? [] : [{ client, endpoint, local, lastTai64n, sentTick }]
    })
  }

  private flapping(dateMs: number): Decision["flapping"] {
    if (this.moves.size === 0 || Math.abs(dateMs - this.flappingAt) < minuteMs) return null
    let most: { readonly client: ClientId; readonly moves: number } | null = null
    let others = -1
    for (const [key, dates] of this.moves) {
      // All clients of a gateway that has ended have moved once.
      if (dates.length <= mostMoves) continue
      const moves = dates.filter((date) => dateMs - date < minuteMs).length
      const client = this.names.get(key)
      if (moves <= mostMoves || client === undefined) continue
      others++
      if (most === null || moves > most.moves) most = { client, moves }
    }
    if (most === null) return null
    this.flappingAt = dateMs
    return { ...most, others }
  }

  /** Once a minute. */
  private forget(): void {
    const { dateMs, now } = this.met!
    if (now - this.forgottenAt < minuteMs) return
    this.forgottenAt = now
    for (const [key, { at }] of this.calling) if (dateMs - at > callingMs) this.calling.delete(key)
    for (const [key, dates] of this.moves) if (dateMs - dates.at(-1)! > minuteMs) this.moves.delete(key)
    for (const key of this.owners.keys()) if (!this.names.has(key)) this.owners.delete(key)
    for (const [key, { handshakeAt }] of this.others) {
      if (dateMs - handshakeAt <= rememberedMs) continue
      this.others.delete(key)
      this.calling.delete(key)
    }
  }
}

/** By the device's own clock; where that says nothing, as after a call, by the engine's. */
const isNewer = (a: Sighting, b: Sighting): boolean => {
  const [labelA, labelB] = [a.lastTai64n ?? "", b.lastTai64n ?? ""]
  if (labelA !== labelB) return labelA > labelB
  return a.handshakeAt === b.handshakeAt ? a.gateway > b.gateway : a.handshakeAt > b.handshakeAt
}

const isSame = (a: Sighting, b: Sighting): boolean =>
  a.epoch === b.epoch &&
  a.endpoint.address === b.endpoint.address &&
  a.endpoint.port === b.endpoint.port &&
  a.local === b.local &&
  a.lastTai64n === b.lastTai64n &&
  a.sentTick === b.sentTick &&
  a.handshakeAt === b.handshakeAt
