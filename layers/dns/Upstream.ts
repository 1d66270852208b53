import * as crypto from "node:crypto"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import { encodeQuery, judge, maxTtl } from "../../src/dns/query.ts"
import { parseResolvConf } from "../../src/dns/resolvConf.ts"
import { Upstream, type UpstreamQuestion } from "../../src/dns/Upstream.ts"
import { monotonicMillis } from "../../src/loops/monotonic.ts"
import {
  NameNotFound,
  NoResolver,
  ResolutionError,
  type ResolutionReason,
  ServerFailure,
  Timeout
} from "../../src/resolution/Resolver.ts"
import { type DnsServerAddress, type DnsUdpSocket, exchangeTcp, formatServer, openUdp } from "./dnsClient.ts"
import { watchedFile } from "../host/watchedFile.ts"

export interface UpstreamOptions {
  /** By name; `system` is the servers of `resolvConf` unless it is given here. */
  readonly sets: Readonly<Record<string, ReadonlyArray<DnsServerAddress>>>
  /** Path; read again when it changes. */
  readonly resolvConf?: string
  readonly resendMs?: number
  readonly totalMs?: number
  readonly tcpMs?: number
}

/** A server during one exchange. */
interface Peer {
  readonly server: DnsServerAddress
  readonly socket: DnsUdpSocket
  edns: boolean
  sent: number
  tcp: boolean
  failure: { readonly detail: string; readonly reached: boolean } | null
}

type Event =
  | { readonly _tag: "Datagram"; readonly peer: Peer; readonly bytes: Uint8Array }
  | { readonly _tag: "Stream"; readonly peer: Peer; readonly bytes: Uint8Array }
  | { readonly _tag: "Problem"; readonly peer: Peer; readonly detail: string }

/** A server that was silent where another one answered is asked last for this long. */
const asideMs = 60_000

/** Events that wait for the exchange's fiber; datagrams beyond are lost like on any full socket. */
const maxEvents = 256

export const layer = (options: UpstreamOptions): Layer.Layer<Upstream> => Layer.sync(Upstream, () => make(options))

const make = (options: UpstreamOptions): Upstream["Service"] => {
  const { sets, resolvConf = "/etc/resolv.conf", resendMs = 1000, totalMs = 10_000, tcpMs = 5000 } = options
  const systemServers = watchedFile(resolvConf, parseResolvConf)
  const counters = { queries: 0, resends: 0, tcp_queries: 0, answers: 0, failures: 0, timeouts: 0, ignored: 0 }
  const silentSets = new Set<string>()
  /** When each set last answered anything: monotonic milliseconds. */
  const answeredAt = new Map<string, number>()
  /** Servers that nothing gets to, or where nobody listens; each is told once. */
  const outOfReach = new Set<string>()
  /** Until when which servers are asked last: one of several that is down must not cost each question a second. */
  const asideUntil = new Map<string, number>()

  const serversOf = (set: string): Effect.Effect<ReadonlyArray<DnsServerAddress>, NoResolver> => {
    const configured = Object.hasOwn(sets, set) ? sets[set] : undefined
    if (configured !== undefined) {
      return configured.length > 0
        ? Effect.succeed(configured)
        : Effect.fail(new NoResolver({ detail: `the resolver set ${set} has no server` }))
    }
    if (set !== "system") return Effect.fail(new NoResolver({ detail: `there is no resolver set ${set}` }))
    return systemServers.pipe(
      Effect.mapError((cause) => new NoResolver({ detail: `${resolvConf} cannot be read (${cause})` })),
      Effect.filterOrFail(
        (addresses) => addresses.length > 0,
        () => new NoResolver({ detail: `no nameserver line in ${resolvConf}` })
      ),
      Effect.map((addresses) => addresses.map((address) => ({ address, port: 53 })))
    )
  }

  const ask = Effect.fnUntraced(function* (set: string, question: UpstreamQuestion, withinMs: number) {
    const query = { ...question, id: crypto.randomInt(0x10000) }
    const withEdns = encodeQuery(query, true)
    const withoutEdns = encodeQuery(query, false)
    // What is no DNS name can never exist.
    if (withEdns === null || withoutEdns === null) return yield* new NameNotFound({ ttlSeconds: maxTtl })
    const events = yield* Queue.dropping<Event>(maxEvents)
    const peers: Array<Peer> = []
    const began = yield* monotonicMillis
    const isAside = (server: DnsServerAddress) => (asideUntil.get(formatServer(server)) ?? began) > began
    // A stable sort: the order of the file among those that are alike.
    const servers = (yield* serversOf(set)).toSorted((a, b) => Number(isAside(a)) - Number(isAside(b)))
    for (const server of servers) peers.push(yield* openPeer(server, query.id, events))

    const send = (peer: Peer): void => {
      counters.queries++
      if (peer.sent++ > 0) counters.resends++
      peer.socket.send(peer.edns ? withEdns : withoutEdns)
    }
    let turn = 0
    const sendNext = (): void => {
      for (let i = 0; i < peers.length; i++) {
        const peer = peers[turn++ % peers.length]!
        if (peer.failure === null && !peer.tcp) return send(peer)
      }
    }
    /** The peer is out; `null` while another may still answer. */
    const giveUp = (peer: Peer, detail: string, reached: boolean): ResolutionReason | null => {
      peer.failure ??= { detail: `${formatServer(peer.server)}: ${detail}`, reached }
      const left = peers.filter((p) => p.failure === null)
      if (left.length === 0) return reasonOf(peers)
      if (left.some((p) => p.sent === 0)) sendNext()
      return null
    }
    const overTcp = (peer: Peer): Effect.Effect<unknown> => {
      counters.tcp_queries++
      return exchangeTcp(peer.server, peer.edns ? withEdns : withoutEdns, tcpMs).pipe(
        Effect.match({
          onSuccess: (bytes): Event => ({ _tag: "Stream", peer, bytes }),
          onFailure: (detail): Event => ({ _tag: "Problem", peer, detail: `truncated over UDP, over TCP ${detail}` })
        }),
        Effect.flatMap((event) => Queue.offer(events, event))
      )
    }

    const deadline = (yield* monotonicMillis) + withinMs
    let resendAt = 0
    for (;;) {
      const time = yield* monotonicMillis
      if (time >= deadline) {
        counters.timeouts++
        return yield* peers.some((p) => p.failure?.reached === true)
          ? reasonOf(peers)
          : new Timeout({ afterMs: withinMs })
      }
      if (time >= resendAt) {
        sendNext()
        resendAt = time + resendMs
      }
      const next = yield* Queue.take(events).pipe(Effect.timeoutOption(Math.min(resendAt, deadline) - time))
      if (Option.isNone(next)) continue
      const event = next.value
      const { peer } = event
      if (event._tag === "Problem") {
        const reason = giveUp(peer, event.detail, peer.tcp)
        if (reason !== null) return yield* reason
        const server = formatServer(peer.server)
        if (!peer.tcp && !outOfReach.has(server)) {
          outOfReach.add(server)
          yield* Effect.logWarning(
            `the DNS server ${server} is of no use (${event.detail}): the others of ${set} are asked`
          )
        }
        continue
      }
      const verdict = judge(query, event.bytes, event._tag === "Stream" ? "tcp" : "udp", peer.edns)
      if (verdict._tag === "Usable") {
        counters.answers++
        asideUntil.delete(formatServer(peer.server))
        if (outOfReach.delete(formatServer(peer.server))) {
          yield* Effect.logInfo(`the DNS server ${formatServer(peer.server)} is of use again`)
        }
        for (const { failure, sent, server } of peers) {
          if (peers.length > 1 && server !== peer.server && sent > 0 && failure === null) {
            asideUntil.set(formatServer(server), (yield* monotonicMillis) + asideMs)
          }
        }
        return verdict.message
      }
      if (verdict._tag === "Foreign") {
        counters.ignored++
        // A TCP answer that is none is the only one this connection gives.
        if (event._tag === "Datagram") continue
      } else if (verdict._tag === "NoEdns" && peer.edns) {
        peer.edns = false
        if (event._tag === "Stream") yield* Effect.forkScoped(overTcp(peer))
        else send(peer)
        continue
      } else if (verdict._tag === "Truncated") {
        if (!peer.tcp) yield* Effect.forkScoped(overTcp(peer))
        peer.tcp = true
        continue
      }
      const reason = giveUp(peer, verdict._tag === "Failed" ? verdict.detail : "unusable answer over TCP", true)
      if (reason !== null) return yield* reason
    }
  })

  return Upstream.of({
    exchange: Effect.fn("Upstream.exchange")(function* (set, question, withinMs = totalMs) {
      const { domain, type } = question
      yield* Effect.annotateCurrentSpan({ set, domain, type })
      const since = yield* monotonicMillis
      const message = yield* ask(set, question, Math.min(withinMs, totalMs)).pipe(
        Effect.scoped,
        Effect.tapError((reason) => noteSilence(set, reason, since)),
        Effect.mapError((reason) => new ResolutionError({ resolver: set, domain, reason }))
      )
      answeredAt.set(set, yield* monotonicMillis)
      if (silentSets.delete(set)) yield* Effect.logInfo(`Resolver ${set} answers again`)
      return message
    }),
    counters: Effect.sync(() => ({ ...counters }))
  })

  /** One line when a set falls silent. One that answered others meanwhile has a name that is broken, no more. */
  function noteSilence(set: string, reason: ResolutionReason, since: number): Effect.Effect<void> {
    counters.failures++
    if (reason._tag !== "Timeout" && reason._tag !== "NoResolver") return Effect.void
    if (silentSets.has(set) || (answeredAt.get(set) ?? Number.NEGATIVE_INFINITY) >= since) return Effect.void
    silentSets.add(set)
    const cause = reason._tag === "Timeout" ? `no answer within ${reason.afterMs} ms` : reason.detail
    return Effect.logWarning(`Resolver ${set} does not answer: ${cause}`)
  }
}

const openPeer = Effect.fnUntraced(function* (server: DnsServerAddress, id: number, events: Queue.Queue<Event>) {
  const socket = yield* openUdp(
    server,
    (bytes) => {
      // Cheap sieve: what does not carry our id never reaches the queue.
      if (bytes.length >= 2 && bytes[0] === id >>> 8 && bytes[1] === (id & 255)) {
        Queue.offerUnsafe(events, { _tag: "Datagram", peer, bytes })
      }
    },
    (cause) => Queue.offerUnsafe(events, { _tag: "Problem", peer, detail: explain(cause) })
  )
  const peer: Peer = { server, socket, edns: true, sent: 0, tcp: false, failure: null }
  return peer
})

/** One reason out of all peers' failures: unreachable servers are no resolver at all. */
const reasonOf = (peers: ReadonlyArray<Peer>): ResolutionReason => {
  const detail = peers.map((p) => p.failure?.detail ?? `${formatServer(p.server)}: no answer`).join("; ")
  return peers.some((p) => p.failure?.reached === true) ? new ServerFailure({ detail }) : new NoResolver({ detail })
}

const explanations: Readonly<Record<string, string>> = {
  ECONNREFUSED: "no DNS server listens there (ECONNREFUSED)",
  ENETUNREACH: "no route (ENETUNREACH)",
  EADDRNOTAVAIL: "this host has no address of its family (EADDRNOTAVAIL)",
  EAFNOSUPPORT: "this host has no IPv6 (EAFNOSUPPORT)",
  EHOSTUNREACH: "host unreachable (EHOSTUNREACH)",
  EPERM: "the host's firewall forbids it (EPERM)",
  EMFILE: "too many open files (EMFILE)"
}

const explain = (cause: string): string => explanations[cause] ?? cause
