import { sessionTimeouts } from "../../src/nat/sessions.ts"

export interface ModelSession {
  readonly client: number
  readonly protocol: number
  readonly insidePort: number
  readonly destination: string
  readonly port: number
  real: string
  outsidePort: number
  readonly mapping: number
  resource: number
  readonly firstOut: number
  lastOut: number
  lastIn: number
  finOut: boolean
  finIn: boolean
  /** Place in the order of use. */
  turn: number
  /** Its resource is gone: no packet finds it. */
  suspended: boolean
}

type Kind = keyof typeof sessionTimeouts

const kinds: ReadonlyArray<Kind> = ["unconfirmed", "datagram", "tcp", "closed"]

/** The session table as one would write it without thinking of speed: a list, searched from end to end. */
export class SessionsModel {
  sessions: Array<ModelSession> = []
  evictions = 0
  private turn = 0
  readonly capacity: number
  readonly perClient: number

  constructor(capacity: number, perClient: number) {
    this.capacity = capacity
    this.perClient = perClient
  }

  get awake(): ReadonlyArray<ModelSession> {
    return this.sessions.filter((s) => !s.suspended)
  }

  outside(client: number, protocol: number, outsidePort: number, real: string, port: number): ModelSession | undefined {
    return this.awake.find(
      (s) =>
        s.client === client &&
        s.protocol === protocol &&
        s.outsidePort === outsidePort &&
        s.real === real &&
        s.port === port
    )
  }

  inside(client: number, protocol: number, port: number, destination: string, to: number): ModelSession | undefined {
    return this.awake.find(
      (s) =>
        s.client === client &&
        s.protocol === protocol &&
        s.insidePort === port &&
        s.destination === destination &&
        s.port === to
    )
  }

  choosePort(client: number, protocol: number, wanted: number, real: string, port: number): number {
    for (let i = 0; i <= 65_535; i++) {
      const candidate = (wanted + i) % 65_536
      if (candidate !== 0 && this.outside(client, protocol, candidate, real, port) === undefined) return candidate
    }
    return -1
  }

  insert(
    session: Omit<ModelSession, "outsidePort" | "lastOut" | "lastIn" | "finOut" | "finIn" | "turn" | "suspended">
  ): void {
    const { client, protocol, insidePort, destination, port, real } = session
    this.remove(this.inside(client, protocol, insidePort, destination, port))
    const outsidePort = this.choosePort(client, protocol, insidePort, real, port)
    if (this.sizeOf(client) >= this.perClient) {
      const own = byTurn(this.sessions.filter((s) => s.client === client))
      this.evict(own.find((s) => s.lastIn < 0) ?? own[0])
    } else if (this.sessions.length >= this.capacity) {
      const oldest = kinds.flatMap((k) => byTurn(this.sessions.filter((s) => kindOf(s) === k)).slice(0, 1))
      this.evict(oldest.find((s) => s.lastIn < 0) ?? oldest.sort((a, b) => used(a) - used(b))[0])
    }
    this.sessions.push({
      ...session,
      outsidePort,
      lastOut: session.firstOut,
      lastIn: -1,
      finOut: false,
      finIn: false,
      turn: this.turn++,
      suspended: false
    })
  }

  withdraw(client: number, resource: number, moves: (s: ModelSession) => boolean): void {
    for (const s of this.sessions) {
      if (s.client === client && s.resource === resource && !s.suspended && !moves(s)) s.suspended = true
    }
  }

  resume(client: number, resource: number, may: (s: ModelSession) => boolean): void {
    const back = this.sessions.filter((s) => s.suspended && s.client === client)
    const [unconfirmed, confirmed] = [back.filter((s) => s.lastIn < 0), back.filter((s) => s.lastIn >= 0)]
    for (const s of [...byTurn(unconfirmed).toReversed(), ...byTurn(confirmed).toReversed()]) {
      const { insidePort, destination, outsidePort, port, protocol, real } = s
      const taken =
        this.inside(client, protocol, insidePort, destination, port) ??
        this.outside(client, protocol, outsidePort, real, port)
      if (!may(s)) {
        if (s.resource === resource) this.remove(s)
        continue
      }
      s.resource = resource
      if (taken !== undefined) this.remove(s)
      else s.suspended = false
    }
  }

  note(s: ModelSession, way: "out" | "in", flags: { fin: boolean; rst: boolean }, now: number): boolean {
    if (s.protocol === 6 && flags.rst) {
      this.remove(s)
      return true
    }
    const fin = s.protocol === 6 && flags.fin
    const changes = (way === "in" && s.lastIn < 0) || (fin && !(way === "in" ? s.finIn : s.finOut))
    if (changes || Math.floor(used(s) / 1000) !== Math.floor(now / 1000)) s.turn = this.turn++
    if (way === "in") {
      s.lastIn = now
      s.finIn ||= fin
    } else {
      s.lastOut = now
      s.finOut ||= fin
    }
    return false
  }

  expire(now: number): ReadonlyArray<ModelSession> {
    const gone: Array<ModelSession> = []
    for (const kind of kinds) {
      for (const s of byTurn(this.sessions.filter((s) => kindOf(s) === kind))) {
        if (now - used(s) < sessionTimeouts[kind]) break
        this.remove(s)
        gone.push(s)
      }
    }
    return gone
  }

  remove(session: ModelSession | undefined): void {
    this.sessions = this.sessions.filter((s) => s !== session)
  }

  sizeOf(client: number): number {
    return this.sessions.filter((s) => s.client === client).length
  }

  private evict(session: ModelSession | undefined): void {
    this.remove(session)
    this.evictions++
  }
}

export const used = (s: ModelSession): number => Math.max(s.lastOut, s.lastIn)

export const kindOf = (s: ModelSession): Kind =>
  s.lastIn < 0 ? "unconfirmed" : s.protocol !== 6 ? "datagram" : s.finOut && s.finIn ? "closed" : "tcp"

const byTurn = (sessions: ReadonlyArray<ModelSession>): Array<ModelSession> =>
  sessions.toSorted((a, b) => a.turn - b.turn)
