/**
 * The UDP sockets that servers are asked from. The port is half of what a forger has to guess (RFC 5452 §9.2), and a
 * socket for each question is most of what a question costs. So the first datagram of a question leaves from one of a few
 * sockets of its server, chosen at random: the kernel has picked each one's port at random, nobody else's packets get
 * there, and it takes no more questions after a second, after some, after one without an answer, or when something comes that
 * nobody waits for: perhaps a forger has found it. Questions wait at the same port only when more of them wait than there
 * are sockets. A datagram that is sent again has a port of its own: also when its socket meets an error, which need not be
 * about all that wait there.
 */
import { formatServer, type ResolverServer } from "../../src/model/ResolverSet.ts"
import type { Timers } from "../../src/loops/timers.ts"
import { randomBytes } from "./randomBytes.ts"
import { type DnsUdpSocket, openUdp } from "./udpSocket.ts"

/** Of a server; divides 256. */
const socketsEach = 16
/** More come only of a resolv.conf that changes all the time. */
const mostServers = 64
/** A socket takes so many questions, and none after so long. */
const mostQuestions = 64
const youngMs = 1_000

export interface Asking {
  /** Bytes with the question's id. */
  readonly heard: (bytes: Uint8Array) => void
  /** The error's code or message: nothing gets to the server. */
  readonly failed: (cause: string) => void
}

interface Shared {
  readonly socket: DnsUdpSocket
  /** By id. */
  readonly waiting: Map<number, Waiting>
  left: number
  /** Takes no more questions, and is closed when none waits. */
  isRetired: boolean
}

interface Waiting {
  readonly heard: Asking["heard"]
  readonly askAlone: () => void
  isHeard: boolean
}

export class UdpSockets {
  private readonly servers = new Map<string, Array<Shared | undefined>>()
  private readonly open = new Set<DnsUdpSocket>()
  private readonly timers: Timers

  constructor(timers: Timers) {
    this.timers = timers
  }

  /** Sends a query from a port that is chosen at random. Yields what ends the waiting for its answer. */
  send(server: ResolverServer, query: Uint8Array, asking: Asking): () => void {
    const id = idOf(query)
    const shared = this.choose(server, id)
    let forget = (): void => {
      shared.waiting.delete(id)
      if (mine.isHeard) this.closeUnused(shared)
      else this.retire(shared)
    }
    const mine: Waiting = {
      heard: asking.heard,
      askAlone: () => {
        forget = this.sendAlone(server, query, asking)
      },
      isHeard: false
    }
    shared.waiting.set(id, mine)
    if (--shared.left === 0) shared.isRetired = true
    shared.socket.send(query)
    return () => forget()
  }

  /** The same from a port of its own. */
  sendAlone(server: ResolverServer, query: Uint8Array, { failed, heard }: Asking): () => void {
    const id = idOf(query)
    const socket = openUdp(
      server,
      (bytes) => {
        if (bytes.length >= 2 && idOf(bytes) === id) heard(bytes)
      },
      failed
    )
    this.open.add(socket)
    socket.send(query)
    return () => this.close(socket)
  }

  /** What is still waited for is not answered any more. */
  closeAll(): void {
    for (const socket of this.open) this.close(socket)
  }

  private choose(server: ResolverServer, id: number): Shared {
    const key = formatServer(server)
    let sockets = this.servers.get(key)
    if (sockets === undefined) {
      sockets = Array.from({ length: socketsEach }, () => undefined)
      if (this.servers.size >= mostServers) this.servers.delete(this.servers.keys().next().value!)
      this.servers.set(key, sockets)
    }
    // One on which nobody waits, where there is any.
    let place = randomBytes(1)[0]! % socketsEach
    for (let i = 0; i < socketsEach && isInUse(sockets[place]); i++) place = (place + 1) % socketsEach
    const known = sockets[place]
    if (known !== undefined && !known.isRetired && !known.waiting.has(id)) return known
    if (known !== undefined) this.retire(known)
    const made = this.make(server)
    sockets[place] = made
    return made
  }

  private make(server: ResolverServer): Shared {
    const waiting: Shared["waiting"] = new Map()
    const socket = openUdp(
      server,
      (bytes) => {
        const mine = bytes.length >= 2 ? waiting.get(idOf(bytes)) : undefined
        if (mine === undefined) return this.retire(shared)
        mine.isHeard = true
        mine.heard(bytes)
      },
      () => {
        const all = [...waiting.values()]
        waiting.clear()
        this.retire(shared)
        for (const { askAlone } of all) askAlone()
      }
    )
    const shared: Shared = { socket, waiting, left: mostQuestions, isRetired: false }
    this.open.add(socket)
    this.timers.at(this.timers.now() + youngMs, () => this.retire(shared))
    return shared
  }

  private retire(shared: Shared): void {
    shared.isRetired = true
    this.closeUnused(shared)
  }

  private closeUnused({ isRetired, socket, waiting }: Shared): void {
    if (isRetired && waiting.size === 0) this.close(socket)
  }

  private close(socket: DnsUdpSocket): void {
    if (this.open.delete(socket)) socket.close()
  }
}

const isInUse = (shared: Shared | undefined): boolean => shared !== undefined && shared.waiting.size > 0

const idOf = (bytes: Uint8Array): number => (bytes[0]! << 8) | bytes[1]!
