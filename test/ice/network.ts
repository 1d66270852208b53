/** A network of hosts, NATs and relays under a test clock, with latency and seeded loss, and agents on its hosts. */
import { type Candidate, type CandidateKind, localCandidate } from "../../src/ice/candidate.ts"
import { IceAgent, type IceAgentOptions } from "../../src/ice/IceAgent.ts"
import type { IcePath } from "../../src/ice/candidatePair.ts"
import type { IceRole } from "../../src/ice/iceMessages.ts"
import { parseStun, type StunMessage } from "../../src/ice/stun.ts"
import { formatTransport, type TransportAddress, transportAddress } from "../../src/packet/transportAddress.ts"

export const at = (address: string, port: number): TransportAddress => transportAddress(address, port)!

type Receiver = (from: TransportAddress, bytes: Uint8Array) => void

/** Where an address means something: the internet, or behind one NAT. */
export class Realm {
  readonly receivers = new Map<string, Receiver>()
}

export class Network {
  now = 0
  /** One way. */
  latency = 10
  /** 0 to 1, per datagram. */
  loss = 0
  /** Datagrams that do not pass. */
  blocked: (from: TransportAddress, to: TransportAddress) => boolean = () => false
  /** What passed, in order. */
  readonly sent: Array<{
    readonly at: number
    readonly from: string
    readonly to: string
    readonly bytes: Uint8Array
  }> = []
  readonly internet = new Realm()
  private readonly events: Array<{ readonly at: number; readonly run: () => void }> = []
  private readonly clocked: Array<{ nextDeadline(): number; advance(now: number): void }> = []
  private seed: number

  constructor(seed = 1) {
    this.seed = seed
  }

  random(): number {
    this.seed = (Math.imul(this.seed, 1664525) + 1013904223) >>> 0
    return this.seed / 2 ** 32
  }

  randomBytes(out: Uint8Array): void {
    for (let i = 0; i < out.length; i++) out[i] = Math.floor(this.random() * 256)
  }

  send(realm: Realm, from: TransportAddress, to: TransportAddress, bytes: Uint8Array): void {
    this.sent.push({ at: this.now, from: formatTransport(from), to: formatTransport(to), bytes })
    if (this.random() < this.loss || this.blocked(from, to)) return
    this.later(this.latency, () => realm.receivers.get(formatTransport(to))?.(from, bytes))
  }

  /** Somebody is at `address`, and says nothing. */
  internetReceives(address: TransportAddress): void {
    this.internet.receivers.set(formatTransport(address), () => {})
  }

  later(delay: number, run: () => void): void {
    this.events.push({ at: this.now + delay, run })
  }

  /** Keeps `agent` on time. */
  drive(agent: { nextDeadline(): number; advance(now: number): void }): void {
    this.clocked.push(agent)
  }

  /** Lets everything happen until `time`, or until `done`. */
  run(time: number, done: () => boolean = () => false): void {
    for (;;) {
      if (done()) return
      const event = this.events.toSorted((a, b) => a.at - b.at)[0]
      const deadline = Math.min(...this.clocked.map((agent) => agent.nextDeadline()))
      const next = Math.min(event?.at ?? Number.POSITIVE_INFINITY, deadline)
      if (next > time) break
      this.now = Math.max(this.now, next)
      if (event !== undefined && event.at <= deadline) {
        this.events.splice(this.events.indexOf(event), 1)
        event.run()
      } else {
        for (const agent of this.clocked) if (agent.nextDeadline() <= this.now) agent.advance(this.now)
      }
    }
    this.now = time
  }

  /** Messages sent since `time`. */
  since(time: number): number {
    return this.sent.filter((message) => message.at >= time).length
  }
}

export type NatKind = "fullCone" | "portRestricted" | "symmetric"

/** Translates a private realm to one public address (RFC 4787's terms: mapping and filtering). */
export class Nat {
  readonly inside = new Realm()
  private readonly network: Network
  private readonly kind: NatKind
  private readonly address: string
  private readonly mappings = new Map<string, { readonly outside: TransportAddress; readonly allowed: Set<string> }>()
  private port = 20_000

  constructor(network: Network, kind: NatKind, address: string) {
    this.network = network
    this.kind = kind
    this.address = address
  }

  send(from: TransportAddress, to: TransportAddress, bytes: Uint8Array): void {
    this.network.send(this.network.internet, this.outside(from, to), to, bytes)
  }

  /** The public address that `to` sees of `from`. */
  outside(from: TransportAddress, to: TransportAddress): TransportAddress {
    const key = this.kind === "symmetric" ? `${formatTransport(from)} ${formatTransport(to)}` : formatTransport(from)
    let mapping = this.mappings.get(key)
    if (mapping === undefined) {
      mapping = { outside: at(this.address, this.port++), allowed: new Set() }
      this.mappings.set(key, mapping)
      const { allowed, outside } = mapping
      this.network.internet.receivers.set(formatTransport(outside), (source, bytes) => {
        if (this.kind !== "fullCone" && !allowed.has(formatTransport(source))) return
        this.inside.receivers.get(formatTransport(from))?.(source, bytes)
      })
    }
    mapping.allowed.add(formatTransport(to))
    return mapping.outside
  }

  /** New public ports for everything from now on, as after a restart of the NAT. */
  restart(): void {
    for (const { outside } of this.mappings.values()) {
      this.network.internet.receivers.delete(formatTransport(outside))
    }
    this.mappings.clear()
  }
}

const stunServer = at("198.51.100.99", 3478)

/** A host with one address, and one agent on it. */
export class Side {
  readonly network: Network
  readonly agent: IceAgent
  readonly nominated: Array<IcePath | null> = []
  readonly failures: Array<string> = []
  readonly received: Array<StunMessage> = []
  /** What `handle` said. */
  readonly used: Array<boolean> = []
  private readonly nat: Nat | undefined
  private readonly relays = new Map<string, Set<string>>()

  constructor(network: Network, role: IceRole, nat?: Nat, options: Partial<IceAgentOptions> = {}) {
    this.network = network
    this.nat = nat
    this.agent = new IceAgent({
      role,
      local: credentials(role),
      remote: credentials(role === "controlling" ? "controlled" : "controlling"),
      tieBreaker: new Uint8Array(8).fill(role === "controlling" ? 1 : 2),
      randomBytes: (out) => network.randomBytes(out),
      now: network.now,
      transmit: (path, bytes) => this.transmit(path, bytes),
      nominated: (path) => this.nominated.push(path),
      failed: (reason) => this.failures.push(reason),
      ...options
    })
    network.drive(this.agent)
  }

  /** Makes the host reachable at `address` and adds it as a candidate. */
  host(address: TransportAddress, index = 0): Candidate {
    this.realm.receivers.set(formatTransport(address), (from, bytes) => this.receive(bytes, address, from))
    return this.add("host", address, index)
  }

  /** What a STUN server sees of `base`. */
  reflexive(base: TransportAddress): Candidate {
    return localCandidate("srflx", this.nat?.outside(base, stunServer) ?? base)
  }

  /** An address at a relay: it lets through what comes from the peer's addresses that were told as `srflx` or `relay`. */
  relay(address: TransportAddress): Candidate {
    const peers = new Set<string>()
    this.relays.set(formatTransport(address), peers)
    this.network.internet.receivers.set(formatTransport(address), (from, bytes) => {
      if (!peers.has(formatTransport(from))) return
      this.network.later(this.network.latency, () => this.receive(bytes, address, from))
    })
    return this.add("relay", address, 0)
  }

  /** The relay is gone. */
  loseRelay(candidate: Candidate): void {
    this.network.internet.receivers.delete(formatTransport(candidate.address))
    this.relays.delete(formatTransport(candidate.address))
  }

  /** The peer's candidate came over signalling. */
  hear(...candidates: ReadonlyArray<Candidate>): void {
    for (const candidate of candidates) {
      for (const peers of this.relays.values()) {
        if (candidate.kind !== "host") peers.add(formatTransport(candidate.address))
      }
      this.agent.addRemote(candidate, this.network.now)
    }
  }

  /** Binds a channel to `peer` at every relay. */
  letThrough(peer: TransportAddress): void {
    for (const peers of this.relays.values()) peers.add(formatTransport(peer))
  }

  receive(bytes: Uint8Array, local: TransportAddress, remote: TransportAddress): void {
    const message = parseStun(bytes)
    if (message === undefined) return
    this.received.push(message)
    this.used.push(this.agent.handle(message, local, remote, this.network.now))
  }

  /** The path in use as text. */
  get path(): string | null {
    const path = this.agent.path
    return path === null ? null : `${formatTransport(path.local)} > ${formatTransport(path.remote)}`
  }

  private add(kind: CandidateKind, address: TransportAddress, index: number): Candidate {
    const candidate = localCandidate(kind, address, index)
    this.agent.addLocal(candidate, this.network.now)
    return candidate
  }

  private transmit(path: IcePath, bytes: Uint8Array): void {
    if (path.relayed) {
      const peers = this.relays.get(formatTransport(path.local))
      if (peers?.has(formatTransport(path.remote)) !== true) return
      this.network.later(this.network.latency, () => {
        if (this.relays.has(formatTransport(path.local))) {
          this.network.send(this.network.internet, path.local, path.remote, bytes)
        }
      })
    } else if (this.nat !== undefined && !this.nat.inside.receivers.has(formatTransport(path.remote))) {
      this.nat.send(path.local, path.remote, bytes)
    } else {
      this.network.send(this.realm, path.local, path.remote, bytes)
    }
  }

  private get realm(): Realm {
    return this.nat?.inside ?? this.network.internet
  }
}

export const credentials = (role: IceRole) => ({ username: role.slice(-4), password: `${role}-password-of-22` })
