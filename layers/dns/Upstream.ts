import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { AskPlan } from "../../src/dns/askPlan.ts"
import { emptyMessage } from "../../src/dns/message.ts"
import { classInternet, recordType } from "../../src/dns/registry.ts"
import { ServerMemory } from "../../src/dns/serverMemory.ts"
import { Upstream, type UpstreamQuestion } from "../../src/dns/Upstream.ts"
import { monotonicMillis } from "../../src/loops/monotonic.ts"
import { formatServer, type ResolverServer } from "../../src/model/ResolverSet.ts"
import { NoResolver, ResolutionError, type ResolutionReason } from "../../src/resolution/Resolver.ts"
import { exchange, type ExchangeParts } from "./exchange.ts"
import { HttpsSession } from "./HttpsSession.ts"
import { makeResolverSets, type SetsByName } from "./resolverSets.ts"
import { StreamConnections } from "./StreamConnections.ts"

export interface UpstreamOptions {
  /** By name; `system` is the servers of `resolvConf` unless it is given here. */
  readonly sets: SetsByName
  /** Path; read again when it changes. */
  readonly resolvConf?: string
  readonly resendMs?: number
  readonly totalMs?: number
  readonly tcpMs?: number
}

/** Servers with connections that are kept; more come only of a resolv.conf that changes all the time. */
const maxStreamServers = 64

/** How long a probe waits. */
const probeMs = 3_000

/** Probes at a time, of all sets. */
const maxProbes = 16

export const layer = (options: UpstreamOptions): Layer.Layer<Upstream> => Layer.effect(Upstream, make(options))

const make = Effect.fnUntraced(function* (options: UpstreamOptions) {
  const { sets, resolvConf = "/etc/resolv.conf", resendMs = 1000, totalMs = 10_000, tcpMs = 5000 } = options
  const { epoch, epochAtOnce, planOf } = makeResolverSets(sets, resolvConf, resendMs)
  const scope = yield* Effect.scope
  const memory = new ServerMemory()
  const counters = {
    queries: 0,
    resends: 0,
    tcp_queries: 0,
    answers: 0,
    failures: 0,
    timeouts: 0,
    ignored: 0,
    without_edns: 0,
    case_changed: 0,
    truncated_used: 0,
    probes: 0,
    stream_connections: 0,
    stream_reconnects: 0,
    stream_full: 0
  }
  const silentSets = new Set<string>()
  /** When each set last answered anything: monotonic milliseconds. */
  const answeredAt = new Map<string, number>()
  /** Servers that nothing gets to, or where nobody listens; each is told once. */
  const outOfReach = new Set<string>()
  let probes = 0

  const streams = new Map<string, StreamConnections | HttpsSession>()
  yield* Effect.addFinalizer(() => Effect.sync(() => streams.forEach((stream) => stream.close())))
  const streamTo = (server: ResolverServer): StreamConnections | HttpsSession => {
    const key = formatServer(server)
    let stream = streams.get(key)
    if (stream !== undefined) return stream
    if (streams.size >= maxStreamServers) {
      const [oldest, closing] = streams.entries().next().value!
      streams.delete(oldest)
      closing.close()
    }
    stream = server.transport === "https" ? new HttpsSession(server, counters) : new StreamConnections(server, counters)
    streams.set(key, stream)
    return stream
  }

  const partsOf = (set: string): ExchangeParts => ({
    memory,
    counters,
    tcpMs,
    overStream: (server, query, withinMs) => streamTo(server).exchange(query, withinMs),
    unreachable: (server, cause) =>
      Effect.suspend(() => {
        if (outOfReach.has(server)) return Effect.void
        outOfReach.add(server)
        return Effect.logWarning(`the DNS server ${server} is of no use (${cause}): the others of ${set} are asked`)
      })
  })

  /** What can be found out about the set's other servers while nobody waits for it. */
  const probe = Effect.fnUntraced(function* (set: string, plan: AskPlan, question: UpstreamQuestion) {
    const now = yield* monotonicMillis
    for (const server of plan.servers) {
      const key = formatServer(server)
      if (outOfReach.has(key) && memory.of(key).silentSince === null) {
        outOfReach.delete(key)
        yield* Effect.logInfo(`the DNS server ${key} is of use again`)
      }
      const aim = probes < maxProbes ? memory.startProbe(key, plan.order, now) : null
      if (aim === null) continue
      probes++
      counters.probes++
      yield* exchange(partsOf(set), { ...plan, servers: [server] }, question, probeMs, aim).pipe(
        Effect.scoped,
        Effect.ignore,
        Effect.ensuring(
          Effect.map(monotonicMillis, (ended) => {
            probes--
            memory.probed(key, ended)
          })
        ),
        Effect.forkIn(scope)
      )
    }
  })

  const ask = Effect.fnUntraced(function* (set: string, question: UpstreamQuestion, withinMs: number) {
    const plan = yield* planOf(set)
    if (plan.noAaaa && question.type === recordType.AAAA) {
      return {
        ...emptyMessage,
        response: true,
        questions: [{ name: question.domain, type: question.type, class: classInternet }]
      }
    }
    const message = yield* exchange(partsOf(set), plan, question, withinMs, null).pipe(
      Effect.scoped,
      Effect.mapError((reason) =>
        reason._tag === "NoResolver" && plan.note !== null
          ? new NoResolver({ detail: `${plan.note}; ${reason.detail}` })
          : reason
      )
    )
    yield* probe(set, plan, question)
    return message
  })

  return Upstream.of({
    exchange: Effect.fn("Upstream.exchange", { kind: "client" })(function* (set, question, withinMs = totalMs) {
      const { domain, type } = question
      yield* Effect.annotateCurrentSpan({ set, domain, type })
      const since = yield* monotonicMillis
      const message = yield* ask(set, question, Math.min(withinMs, totalMs)).pipe(
        Effect.tapError((reason) => noteSilence(set, reason, since)),
        Effect.mapError((reason) => new ResolutionError({ resolver: set, domain, reason }))
      )
      answeredAt.set(set, yield* monotonicMillis)
      if (silentSets.delete(set)) yield* Effect.logInfo(`Resolver ${set} answers again`)
      return message
    }),
    epoch,
    epochAtOnce,
    counters: Effect.sync(() => ({ ...counters })),
    servers: Effect.map(monotonicMillis, (now) => memory.list(now))
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
})
