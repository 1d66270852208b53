/** WireGuard instances in memory: each has its own arena and address, a shared clock, and a wire the test looks at. */
import { randomBytes } from "node:crypto"
import { makeNodePrimitives } from "../../layers/dataplane/nodePrimitives.ts"
import { blake2s } from "@noble/hashes/blake2.js"
import { formatAddress, parseAddress } from "../../src/packet/address.ts"
import { Arena } from "../../src/packet/arena.ts"
import { copyEndpoint, type Endpoint, formatHostPort, makeEndpoint } from "../../src/packet/endpoint.ts"
import type { HandshakeLimits } from "../../src/wireguard/handshakeLimits.ts"
import type { AeadKey, Primitives } from "../../src/wireguard/primitives.ts"
import { type Peer, type PeerEvent, WireGuard } from "../../src/wireguard/WireGuard.ts"
import { handshakeOutcomes, ReceiveCode, receiveCodes } from "../../src/wireguard/receiveCode.ts"

export const endpoint = (address: string, port: number): Endpoint => {
  const made = makeEndpoint()
  Object.assign(made.remote, parseAddress(address))
  made.port = port
  return made
}

/** The remote side as text. */
export const formatEndpoint = (e: Readonly<Endpoint>): string => formatHostPort(formatAddress(e.remote), e.port)

/** What `mac1` and `mac2` are: BLAKE2s-128, keyed. */
export const mac = (key: Uint8Array, message: Uint8Array): Uint8Array => blake2s(message, { key, dkLen: 16 })

export interface Datagram {
  readonly to: string
  readonly bytes: Uint8Array
}

/** Shared by the sides of a test. Starts away from zero, at a wall time that is no round number. */
export class Clock {
  now = 1_000_000
  wall = 1_795_000_123_457
  advance(ms: number) {
    this.now += ms
    this.wall += ms
  }
}

export interface SideOptions {
  readonly clock: Clock
  readonly address?: string
  readonly privateKey?: Uint8Array
  readonly limits?: Partial<HandshakeLimits>
  readonly mtu?: number
}

/** Remembers every AEAD key so that a test can see which were freed, and what they were. */
export interface KeyRecord {
  readonly key: AeadKey
  readonly copy: Uint8Array
  freed: boolean
}

export interface SecretRecord {
  /** The array that was given. */
  readonly given: Uint8Array
  /** How often it agreed on a key. */
  agreed: number
  freed: boolean
}

export class Side {
  readonly clock: Clock
  readonly arena = new Arena(new ArrayBuffer(1 << 17))
  readonly wg: WireGuard
  readonly at: Endpoint
  readonly keys: Array<KeyRecord> = []
  /** What agrees on keys, the private key first, then the ephemeral ones. */
  readonly secrets: Array<SecretRecord> = []
  /** Keys of a handshake's fields: the arrays themselves. */
  readonly fieldKeys: Array<Uint8Array> = []
  /** MACs that were made or compared. */
  macs = 0
  readonly events: Array<readonly [Peer, PeerEvent]> = []
  /** Sent and not yet taken. */
  wire: Array<Datagram> = []
  onEvent: (peer: Peer, event: PeerEvent) => void = () => {}
  private readonly inbound: number
  private readonly plain: number
  private readonly sealed: number

  constructor(options: SideOptions) {
    this.clock = options.clock
    this.at = endpoint(options.address ?? "192.0.2.1", 51820)
    this.inbound = this.arena.reserve(2048)
    this.plain = this.arena.reserve(2048)
    this.sealed = this.arena.reserve(2048)
    this.wg = new WireGuard({
      primitives: this.watch(makeNodePrimitives(this.arena.bytes)),
      privateKey: options.privateKey ?? randomBytes(32),
      arena: this.arena,
      send: (to, offset, length) =>
        this.wire.push({ to: formatEndpoint(to), bytes: this.arena.bytes.slice(offset, offset + length) }),
      event: (peer, event) => {
        this.events.push([peer, event])
        this.onEvent(peer, event)
      },
      // A side has no turns.
      limits: { seenPerTurn: Number.POSITIVE_INFINITY, ...options.limits },
      ...(options.mtu === undefined ? {} : { mtu: options.mtu })
    })
  }

  /** Knows `other`, and where it is. */
  meet(other: Side, presharedKey: Uint8Array | null = null, keepalive = 0): Peer {
    const peer = this.wg.addPeer({ publicKey: other.wg.publicKey, presharedKey, keepalive, user: 7 })
    copyEndpoint(other.at, peer.endpoint)
    peer.hasEndpoint = true
    return peer
  }

  /** The name of the receive code. */
  receive(bytes: Uint8Array, from: Endpoint): string {
    this.arena.bytes.set(bytes, this.inbound)
    const code = this.wg.receive(this.inbound, bytes.length, from, this.clock.now)
    return receiveCodes[code]!
  }

  /** The inner packet of the last `Data`. */
  get inner(): Uint8Array {
    return this.arena.bytes.slice(this.wg.plainOffset, this.wg.plainOffset + this.wg.plainLength)
  }

  /** Works off all queued handshakes; the outcomes by name that this added. */
  work(): Array<string> {
    const before = this.wg.handshakeCounts.slice()
    while (this.wg.workHandshakes(this.clock.now)) {}
    return handshakeOutcomes.flatMap((name, i) =>
      Array.from({ length: this.wg.handshakeCounts[i]! - before[i]! }, () => name)
    )
  }

  /** A transport datagram, or `undefined` without a session. */
  seal(peer: Peer, inner: Uint8Array): Uint8Array | undefined {
    this.arena.bytes.set(inner, this.plain)
    const length = this.wg.seal(peer, this.plain, inner.length, this.sealed, this.clock.now)
    return length === 0 ? undefined : this.arena.bytes.slice(this.sealed, this.sealed + length)
  }

  initiate(peer: Peer): void {
    this.wg.initiate(peer, this.clock.now, this.clock.wall)
  }

  tick(): void {
    this.wg.advance(this.clock.now, this.clock.wall)
  }

  take(): Array<Datagram> {
    const taken = this.wire
    this.wire = []
    return taken
  }

  eventNames(): Array<PeerEvent> {
    return this.events.map(([, event]) => event)
  }

  private watch(p: Primitives): Primitives {
    return {
      ...p,
      x25519: (given) => {
        const inner = p.x25519(given)
        const record: SecretRecord = { given, agreed: 0, freed: false }
        this.secrets.push(record)
        return {
          publicKey: inner.publicKey,
          agree: (publicKey) => {
            record.agreed++
            return inner.agree(publicKey)
          },
          free: () => {
            record.freed = true
            inner.free()
          }
        }
      },
      blake2sMac: (...a) => {
        this.macs++
        return p.blake2sMac(...a)
      },
      sealOnce: (key, ...a) => {
        this.fieldKeys.push(key)
        return p.sealOnce(key, ...a)
      },
      openOnce: (key, ...a) => {
        this.fieldKeys.push(key)
        return p.openOnce(key, ...a)
      },
      aead: (key) => {
        const inner = p.aead(key)
        const record: KeyRecord = {
          key: {
            seal: (...a) => inner.seal(...a),
            open: (...a) => inner.open(...a),
            free: () => {
              record.freed = true
              inner.free()
            }
          },
          copy: key.slice(),
          freed: false
        }
        this.keys.push(record)
        return record.key
      }
    }
  }
}

export interface Pair {
  readonly clock: Clock
  readonly a: Side
  readonly b: Side
  /** B as A knows it, and the other way round. */
  readonly toB: Peer
  readonly toA: Peer
}

export interface PairOptions {
  readonly psk?: Uint8Array | null
  readonly limits?: Partial<HandshakeLimits>
  readonly keepalive?: number
}

/** Two sides that know each other's key; only A knows where the other is. */
export const makePair = (options: PairOptions = {}): Pair => {
  const clock = new Clock()
  const limits = options.limits === undefined ? {} : { limits: options.limits }
  const a = new Side({ clock, address: "192.0.2.1" })
  const b = new Side({ clock, address: "192.0.2.2", ...limits })
  const toB = a.meet(b, options.psk ?? null, options.keepalive)
  const toA = b.wg.addPeer({ publicKey: a.wg.publicKey, presharedKey: options.psk ?? null, keepalive: 0, user: 9 })
  return { clock, a, b, toB, toA }
}

/** Carries what is on the wire to the other side and works it off, until nothing moves. Returns what happened. */
export const settle = ({ a, b }: Pick<Pair, "a" | "b">): Array<string> => {
  const log: Array<string> = []
  for (let i = 0; i < 20; i++) {
    const fromA = a.take()
    const fromB = b.take()
    if (fromA.length + fromB.length === 0) return log
    for (const { bytes } of fromA) log.push(`b:${b.receive(bytes, a.at)}`)
    log.push(...b.work().map((outcome) => `b:${outcome}`))
    for (const { bytes } of fromB) log.push(`a:${a.receive(bytes, b.at)}`)
    log.push(...a.work().map((outcome) => `a:${outcome}`))
  }
  throw new Error(`does not settle: ${log.join(" ")}`)
}

/** A pair after A's handshake. */
export const makeConnected = (options: PairOptions = {}): Pair => {
  const pair = makePair(options)
  pair.a.initiate(pair.toB)
  settle(pair)
  pair.a.events.length = 0
  pair.b.events.length = 0
  return pair
}

/** Lets time pass in steps, running timers and carrying messages on the way. */
export const pass = (pair: Pair, ms: number, step = 100): Array<string> => {
  const log: Array<string> = []
  for (let left = ms; left > 0; left -= step) {
    pair.clock.advance(Math.min(step, left))
    pair.a.tick()
    pair.b.tick()
    log.push(...settle(pair))
  }
  return log
}

/** Sends `inner` from one side to the other; what arrives, or the code. */
export const carry = (from: Side, peer: Peer, to: Side, inner: Uint8Array): Uint8Array | string => {
  const datagram = from.seal(peer, inner)
  if (datagram === undefined) return "no session"
  const code = to.receive(datagram, from.at)
  return code === receiveCodes[ReceiveCode.Data] ? to.inner.subarray(0, inner.length) : code
}

export const text = (value: string): Uint8Array => new TextEncoder().encode(value)
