import * as crypto from "node:crypto"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import { randomCase, restoreCase } from "../../src/dns/dns0x20.ts"
import type { Message } from "../../src/dns/message.ts"
import { encodeQuery, judge, maxTtl, type Query } from "../../src/dns/query.ts"
import { isBelieved, type ProbeAim, type ServerMemory } from "../../src/dns/serverMemory.ts"
import type { UpstreamQuestion } from "../../src/dns/Upstream.ts"
import { monotonicMillis } from "../../src/loops/monotonic.ts"
import { formatServer, type ResolverServer } from "../../src/model/ResolverSet.ts"
import {
  NameNotFound,
  NoResolver,
  type ResolutionReason,
  ServerFailure,
  Timeout
} from "../../src/resolution/Resolver.ts"
import type { AskPlan } from "./resolverSets.ts"
import { openUdp } from "./udpSocket.ts"
import { tlsProblems } from "../host/tlsProblems.ts"

interface ExchangeCounters {
  queries: number
  resends: number
  tcp_queries: number
  answers: number
  timeouts: number
  ignored: number
  without_edns: number
  case_changed: number
  truncated_used: number
}

/** What all exchanges share. */
export interface ExchangeParts {
  readonly memory: ServerMemory
  readonly counters: ExchangeCounters
  /** One question over a connection that is kept; fails with a cause. */
  readonly overStream: (
    server: ResolverServer,
    query: Uint8Array,
    withinMs: number
  ) => Effect.Effect<Uint8Array, string>
  readonly tcpMs: number
  /** Nothing gets to a server, while others are left. */
  readonly unreachable: (server: string, cause: string) => Effect.Effect<void>
}

/** A server during one exchange. */
interface Peer {
  readonly server: ResolverServer
  readonly key: string
  /** How often its turn came, and when first. */
  asked: number
  askedAt: number
  datagrams: number
  /** It said something that belongs to our question. */
  heard: boolean
  /** A question with EDNS was sent; since then nothing but a complaint came. */
  ednsUnanswered: boolean
  /** EDNS is no longer tried. */
  plain: boolean
  /** It failed in a way that some servers have for EDNS. */
  mayBeEdns: boolean
  /** It answered truncated, and TCP is under way. */
  truncated: boolean
  partial: Attempted | null
  streams: number
  /** How often it said that it cannot answer. */
  noes: number
  failure: { readonly detail: string; readonly reached: boolean } | null
}

interface Attempt {
  readonly peer: Peer
  readonly query: Query
  readonly via: "datagram" | "stream"
  readonly edns: boolean
  readonly plainCase: Uint8Array
  readonly sent: Uint8Array
  readonly at: number
}

interface Attempted {
  readonly attempt: Attempt
  readonly message: Message
}

type Event =
  | { readonly _tag: "Answer"; readonly attempt: Attempt; readonly bytes: Uint8Array }
  | { readonly _tag: "Problem"; readonly attempt: Attempt; readonly cause: string }

/** Events that wait for the exchange's fiber; datagrams beyond are lost like on any full socket. */
const maxEvents = 256

/** Sockets of earlier datagrams whose answers may still come: a server may take as many seconds as these are apart. */
const maxOpen = 5

/** Before the next server or the next way is tried where it is not known whether the first one answers at all. */
const unknownMs = 300

/** How often an answer that says no is looked at again while another server may know better. */
const heldMs = 50

/** How long TCP is waited for when the truncated answer would do. */
const partialMs = 1_000

/** A silent server's turn comes after so many of each living one. */
const silentHandicap = 2

/**
 * Asks the servers of the plan until one gives a usable answer. Each datagram has its own id, port and case (0x20).
 * Scoped: sockets and fibers end with the scope.
 *
 * @param probe what is to be found out of the plan's only server; `null` for a question that somebody waits for
 */
export const exchange = Effect.fnUntraced(function* (
  { counters, memory, overStream, tcpMs, unreachable }: ExchangeParts,
  plan: AskPlan,
  question: UpstreamQuestion,
  withinMs: number,
  probe: ProbeAim | null
) {
  const withEdns = encodeQuery({ ...question, id: 0 }, true)
  const withoutEdns = encodeQuery({ ...question, id: 0 }, false)
  // What is no DNS name can never exist.
  if (withEdns === null || withoutEdns === null) return yield* new NameNotFound({ ttlSeconds: maxTtl })
  const events = yield* Queue.dropping<Event>(maxEvents)
  const keys = plan.servers.map(formatServer)
  const peers = memory.order(keys, plan.order, plan.first).map((i) => makePeer(plan.servers[i]!, keys[i]!))
  const sockets: Array<{ readonly close: () => void }> = []
  yield* Effect.addFinalizer(() => Effect.sync(() => sockets.forEach((socket) => socket.close())))
  let now = yield* monotonicMillis
  let deadline = now + withinMs
  let nextAt = now
  let held: Attempted | null = null

  const isSilent = (peer: Peer): boolean => memory.of(peer.key).silentSince !== null
  /** Others ask it again just now. */
  const isSpared = (peer: Peer): boolean => peer.asked > 0 && !memory.mayResend(peer.key, now)
  const isLiving = (peer: Peer): boolean => !isSilent(peer) && memory.of(peer.key).answeredAt !== null

  const start = (peer: Peer, via: Attempt["via"], edns: boolean, cased: boolean) =>
    Effect.suspend(() => {
      const plainCase = (edns ? withEdns : withoutEdns).slice()
      const id = crypto.randomInt(0x10000)
      plainCase[0] = id >>> 8
      plainCase[1] = id
      const random = cased && via === "datagram" && !isBelieved(memory.of(peer.key).changesCaseSince, now)
      const sent = random ? randomCase(plainCase, crypto.randomBytes(32)) : plainCase
      const attempt: Attempt = { peer, query: { ...question, id }, via, edns, plainCase, sent, at: now }
      if (edns) peer.ednsUnanswered = true
      else counters.without_edns++
      if (via === "datagram") return Effect.sync(() => sendDatagram(attempt))
      counters.tcp_queries++
      peer.streams++
      return overStream(peer.server, sent, peer.partial === null ? tcpMs : partialMs).pipe(
        Effect.match({
          onSuccess: (bytes): Event => ({ _tag: "Answer", attempt, bytes }),
          onFailure: (cause): Event => ({ _tag: "Problem", attempt, cause })
        }),
        Effect.flatMap((event) => Queue.offer(events, event)),
        Effect.forkScoped,
        Effect.asVoid
      )
    })

  const sendDatagram = (attempt: Attempt): void => {
    counters.queries++
    if (attempt.peer.datagrams++ > 0) counters.resends++
    const socket = openUdp(
      attempt.peer.server,
      (bytes) => {
        // Cheap sieve: what does not carry our id never reaches the queue.
        if (bytes.length >= 2 && bytes[0] === attempt.sent[0] && bytes[1] === attempt.sent[1]) {
          Queue.offerUnsafe(events, { _tag: "Answer", attempt, bytes })
        }
      },
      (cause) => Queue.offerUnsafe(events, { _tag: "Problem", attempt, cause })
    )
    socket.send(attempt.sent)
    sockets.push(socket)
    if (sockets.length > maxOpen) sockets.shift()!.close()
  }

  /** The peer whose turn it is: the first in order of those that had the fewest. */
  const nextPeer = (): Peer | null => {
    let best: Peer | null = null
    const turns = (peer: Peer): number =>
      isSpared(peer) ? Infinity : peer.asked + (isSilent(peer) ? silentHandicap : 0)
    for (const peer of peers) {
      if (peer.failure !== null || peer.truncated || peer.asked >= plan.attempts) continue
      if (peer.server.transport !== "udp" && peer.streams > 0) continue
      if (best === null || turns(peer) < turns(best)) best = peer
    }
    return best
  }

  /** The next way to ask a server that has let the earlier ones die. */
  const askAgain = (peer: Peer) => {
    const { ednsWorks, noEdnsSince, tcpOnlySince } = memory.of(peer.key)
    const edns = !peer.plain && (noEdnsSince === null || probe === "Datagrams")
    if (peer.asked++ === 0) peer.askedAt = now
    else memory.resent(peer.key, now)
    if (peer.server.transport !== "udp") return start(peer, "stream", edns, false)
    // What is known to do EDNS has one more try before anything is held to be the reason.
    const step = peer.asked - (ednsWorks && isLiving(peer) ? 2 : 1)
    if (probe === "Datagrams" || step <= 0) {
      return start(peer, probe === "Datagrams" || tcpOnlySince === null ? "datagram" : "stream", edns, true)
    }
    const datagram = start(peer, "datagram", edns && step !== 1, true)
    // Beside it, not instead: a server that is just coming back must not miss a turn.
    return step === 2 ? Effect.andThen(start(peer, "stream", edns, false), datagram) : datagram
  }

  /**
   * Whether a server that is listed before this one may still know better: only where it was asked a moment ago, since
   * nothing was known of it. What stands second is often a public server, which knows no private name.
   */
  const mayBeOverruled = (by: Peer): boolean =>
    plan.order === "fallback" &&
    peers
      .slice(0, peers.indexOf(by))
      .some((p) => p.asked > 0 && !p.heard && p.failure === null && !isSilent(p) && now - p.askedAt < plan.resendMs)

  const finish = ({ attempt, message }: Attempted): Message => {
    const { edns, peer, via } = attempt
    counters.answers++
    if (!edns && peer.ednsUnanswered) memory.failsEdns(peer.key, now)
    if (peer.server.transport === "udp" && via === "stream") {
      if (peer.truncated) memory.worksOverTcp(peer.key)
      else memory.failsDatagrams(peer.key, peer.askedAt, now)
    }
    for (const other of peers) {
      const patience = isLiving(other) ? plan.resendMs : unknownMs
      if (other.asked > 0 && !other.heard && other.failure === null && now - other.askedAt >= patience) {
        memory.silent(other.key, other.askedAt, now)
      }
    }
    return message
  }

  /** The best of what is left when no peer is: `null` when another question is under way. */
  const whenNoneIsLeft = Effect.fnUntraced(function* () {
    if (peers.some((peer) => peer.failure === null)) {
      // At once, if there is one that was not asked yet.
      if (peers.some((peer) => peer.failure === null && peer.asked === 0)) nextAt = now
      return null
    }
    // One no may be a moment's: who is patient (`attempts` of resolv.conf) hears another answer to the next question.
    const again = peers.filter((peer) => (peer.mayBeEdns && !peer.plain) || (peer.noes === 1 && plan.attempts > 1))
    if (again.length === 0 || probe === "Datagrams") return reasonOf(peers)
    for (const peer of again) {
      peer.plain = true
      peer.failure = null
      yield* start(peer, peer.server.transport === "udp" ? "datagram" : "stream", false, false)
    }
    return null
  })

  for (;;) {
    now = yield* monotonicMillis
    if (held !== null && !mayBeOverruled(held.attempt.peer)) return finish(held)
    if (now >= nextAt && now < deadline) {
      const peer = nextPeer()
      if (peer !== null && !isSpared(peer)) {
        yield* askAgain(peer)
        nextAt = now + (isLiving(peer) || peer.asked > 1 ? plan.resendMs : Math.min(unknownMs, plan.resendMs))
      } else if (peer !== null || peers.some((other) => other.streams > 0)) nextAt = now + plan.resendMs
      else deadline = now
    }
    if (now >= deadline) {
      if (held !== null) return finish(held)
      const partial = peers.find((peer) => peer.partial !== null)?.partial
      if (partial) {
        counters.truncated_used++
        return finish(partial)
      }
      counters.timeouts++
      for (const peer of peers) if (peer.asked > 0 && !peer.heard) memory.silent(peer.key, peer.askedAt, now)
      return yield* peers.some((peer) => peer.failure?.reached === true)
        ? reasonOf(peers)
        : new Timeout({ afterMs: withinMs })
    }
    const wakeAt = Math.min(nextAt, deadline, held === null ? Infinity : now + heldMs)
    const next = yield* Queue.take(events).pipe(Effect.timeoutOption(wakeAt - now))
    if (Option.isNone(next)) continue
    now = yield* monotonicMillis
    const event = next.value
    const { attempt } = event
    const { peer } = attempt
    if (attempt.via === "stream") peer.streams--
    if (event._tag === "Problem") {
      if (peer.server.transport === "udp" && attempt.via === "stream") {
        // TCP was one more way to ask: UDP may answer yet.
        if (!peer.truncated) continue
        memory.failsTcp(peer.key, now)
        if (peer.partial !== null) {
          counters.truncated_used++
          return finish(peer.partial)
        }
        peer.failure = { detail: `truncated over UDP, over TCP ${event.cause}`, reached: true }
      } else {
        const detail = explanations[event.cause] ?? event.cause
        peer.failure ??= { detail, reached: !unreached.test(detail) }
        memory.silent(peer.key, peer.askedAt, now)
      }
      const reason = yield* whenNoneIsLeft()
      if (reason !== null) return yield* reason
      if (!peer.truncated) yield* unreachable(peer.key, peer.failure?.detail ?? event.cause)
      continue
    }
    const kept = attempt.sent === attempt.plainCase ? "Kept" : restoreCase(attempt.sent, attempt.plainCase, event.bytes)
    const verdict = judge(attempt.query, event.bytes, attempt.via === "stream" ? "tcp" : "udp", attempt.edns)
    if (verdict._tag === "Foreign") {
      counters.ignored++
      // A connection gives one answer to a question.
      if (attempt.via === "datagram") continue
      peer.failure ??= { detail: "unusable answer over TCP", reached: true }
      const reason = yield* whenNoneIsLeft()
      if (reason !== null) return yield* reason
      continue
    }
    if (kept === "Changed") {
      // Perhaps forged: asked again, under another id from another port, and without a case that could be kept.
      counters.case_changed++
      memory.changesCase(peer.key, now)
      yield* start(peer, "datagram", attempt.edns, false)
      continue
    }
    peer.heard = true
    const understood = attempt.edns && (verdict._tag === "Usable" || verdict._tag === "Truncated")
    if (understood) peer.ednsUnanswered = false
    memory.answered(peer.key, { latencyMs: now - attempt.at, via: attempt.via, withEdns: understood }, now)
    switch (verdict._tag) {
      case "Usable":
        held = { attempt, message: verdict.message }
        if (verdict.message.answers.length > 0) return finish(held)
        continue
      case "NoEdns":
        if (peer.plain) continue
        peer.plain = true
        yield* start(peer, attempt.via, false, true)
        continue
      case "Truncated": {
        if (peer.truncated) continue
        const partial = verdict.partial === null ? null : { attempt, message: verdict.partial }
        if (partial !== null && isBelieved(memory.of(peer.key).noTcpSince, now)) {
          counters.truncated_used++
          return finish(partial)
        }
        peer.truncated = true
        peer.partial = partial
        yield* start(peer, "stream", attempt.edns, false)
        continue
      }
      case "Failed": {
        peer.noes++
        peer.mayBeEdns ||= verdict.mayBeEdns
        peer.failure ??= { detail: verdict.detail, reached: true }
        if (peer.partial !== null) {
          counters.truncated_used++
          return finish(peer.partial)
        }
        const reason = yield* whenNoneIsLeft()
        if (reason !== null) return yield* reason
      }
    }
  }
})

const makePeer = (server: ResolverServer, key: string): Peer => ({
  server,
  key,
  asked: 0,
  askedAt: 0,
  datagrams: 0,
  heard: false,
  ednsUnanswered: false,
  plain: false,
  mayBeEdns: false,
  truncated: false,
  partial: null,
  streams: 0,
  noes: 0,
  failure: null
})

/** One reason out of all peers' failures: unreachable servers are no resolver at all. */
const reasonOf = (peers: ReadonlyArray<Peer>): ResolutionReason => {
  const detail = peers.map((peer) => `${peer.key}: ${peer.failure?.detail ?? "no answer"}`).join("; ")
  return peers.some((peer) => peer.failure?.reached === true)
    ? new ServerFailure({ detail })
    : new NoResolver({ detail })
}

/** As the explanations and a stream's time-out say it. */
const unreached = /^no answer|\([A-Z]+\)$/

/** Why nothing gets to a server, by error code. */
const explanations: Readonly<Record<string, string>> = {
  ...tlsProblems,
  ECONNREFUSED: "no DNS server listens there (ECONNREFUSED)",
  ECONNRESET: "connection reset (ECONNRESET)",
  ETIMEDOUT: "no answer (ETIMEDOUT)",
  ENETUNREACH: "no route (ENETUNREACH)",
  EADDRNOTAVAIL: "this host has no address of its family (EADDRNOTAVAIL)",
  EAFNOSUPPORT: "this host has no IPv6 (EAFNOSUPPORT)",
  EHOSTUNREACH: "host unreachable (EHOSTUNREACH)",
  EPERM: "the host's firewall forbids it (EPERM)",
  EMFILE: "too many open files (EMFILE)"
}
