import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import type { AskPlan } from "../../src/dns/askPlan.ts"
import type { Outcome } from "../../src/dns/Exchange.ts"
import { emptyMessage } from "../../src/dns/message.ts"
import { classInternet, recordType } from "../../src/dns/registry.ts"
import { ServerMemory } from "../../src/dns/serverMemory.ts"
import { askedByFibers, Upstream, type UpstreamQuestion } from "../../src/dns/Upstream.ts"
import { atOnce, awaitLater, type Later } from "../../src/loops/later.ts"
import { monotonicMillis } from "../../src/loops/monotonic.ts"
import { makeOutlive } from "../../src/loops/outlive.ts"
import { makeTimers } from "../../src/loops/timers.ts"
import { formatServer, type ResolverServer } from "../../src/model/ResolverSet.ts"
import { NoResolver, ResolutionError, type ResolutionReason } from "../../src/resolution/Resolver.ts"
import { exchange, type ExchangeParts } from "./exchange.ts"
import { HttpsSession } from "./HttpsSession.ts"
import { makeResolverSets, type SetsByName } from "./resolverSets.ts"
import { StreamConnections } from "./StreamConnections.ts"
import { UdpSockets } from "./UdpSockets.ts"

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
  const { epoch, epochAtOnce, planAtOnce, planOf } = makeResolverSets(sets, resolvConf, resendMs)
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

  const timers = yield* makeTimers
  const sockets = new UdpSockets(timers)
  yield* Effect.addFinalizer(() => Effect.sync(() => sockets.closeAll()))
  const run = yield* FiberSet.makeRuntime()
  const outlive = makeOutlive("Upstream")
  const shared: Omit<ExchangeParts, "unreachable"> = {
    memory,
    counters,
    timers,
    sockets,
    tcpMs,
    overStream: (server, query, withinMs) => (tell) => {
      const asking = streamTo(server).exchange(query, withinMs)
      const fiber = run(Effect.match(asking, { onSuccess: tell, onFailure: tell }))
      return () => fiber.interruptUnsafe()
    },
    onDefect: (defect) => void run(outlive(Effect.die(defect)))
  }
  const partsOf = (set: string): ExchangeParts => ({
    ...shared,
    unreachable: (server, cause) => {
      if (outOfReach.has(server)) return
      outOfReach.add(server)
      run(Effect.logWarning(`the DNS server ${server} is of no use (${cause}): the others of ${set} are asked`))
    }
  })

  /** What can be found out about the set's other servers while nobody waits for it. */
  const probe = (set: string, plan: AskPlan, question: UpstreamQuestion, now: number): void => {
    for (const server of plan.servers) {
      const key = formatServer(server)
      if (outOfReach.has(key) && memory.of(key).silentSince === null) {
        outOfReach.delete(key)
        run(Effect.logInfo(`the DNS server ${key} is of use again`))
      }
      const aim = probes < maxProbes ? memory.startProbe(key, plan.order, now) : null
      if (aim === null) continue
      probes++
      counters.probes++
      exchange(
        partsOf(set),
        { ...plan, servers: [server] },
        question,
        probeMs,
        aim
      )(() => {
        probes--
        memory.probed(key, timers.now())
      })
    }
  }

  /** What an exchange has come to, noted. */
  const noted = (set: string, plan: AskPlan, question: UpstreamQuestion, since: number, outcome: Outcome): Outcome => {
    const now = timers.now()
    if (outcome._tag === "Answer") {
      probe(set, plan, question, now)
      answeredAt.set(set, now)
      if (silentSets.delete(set)) run(Effect.logInfo(`Resolver ${set} answers again`))
      return outcome
    }
    const { reason } = outcome
    const failed =
      reason._tag === "NoResolver" && plan.note !== null
        ? new NoResolver({ detail: `${plan.note}; ${reason.detail}` })
        : reason
    noteSilence(set, failed, since)
    return { _tag: "Failure", reason: failed }
  }

  const askBy = (plan: AskPlan, set: string, question: UpstreamQuestion, withinMs: number): Later<Outcome> => {
    if (plan.noAaaa && question.type === recordType.AAAA) return atOnce(nothingOf(question))
    return (tell) => {
      const since = timers.now()
      const asking = exchange(partsOf(set), plan, question, Math.min(withinMs, totalMs), null)
      return asking((outcome) => tell(noted(set, plan, question, since, outcome)))
    }
  }

  const noPlan = (set: string, reason: NoResolver, since: number): Outcome => {
    noteSilence(set, reason, since)
    return { _tag: "Failure", reason }
  }

  const exchangeTraced = Effect.fn("Upstream.exchange", { kind: "client" })(function* (
    set: string,
    question: UpstreamQuestion,
    withinMs: number = totalMs
  ) {
    const { domain, type } = question
    yield* Effect.annotateCurrentSpan({ set, domain, type })
    const since = timers.now()
    const outcome = yield* Effect.matchEffect(planOf(set), {
      onFailure: (reason) => Effect.succeed(noPlan(set, reason, since)),
      onSuccess: (plan) => awaitLater(askBy(plan, set, question, withinMs))
    })
    if (outcome._tag === "Answer") return outcome.message
    return yield* new ResolutionError({ resolver: set, domain, reason: outcome.reason })
  })

  const askUntraced: Upstream["Service"]["ask"] = (set, question, withinMs) => (tell) => {
    const since = timers.now()
    const known = planAtOnce(set, since)
    if (known !== undefined) return askBy(known, set, question, withinMs)(tell)
    let giveUp = (): void => undefined
    const fiber = run(
      Effect.match(planOf(set), {
        onFailure: (reason) => tell(noPlan(set, reason, since)),
        onSuccess: (plan) => {
          giveUp = askBy(plan, set, question, withinMs)(tell)
        }
      })
    )
    return () => {
      fiber.interruptUnsafe()
      giveUp()
    }
  }

  const isTraced = yield* References.TracerEnabled
  return Upstream.of({
    exchange: exchangeTraced,
    ask: isTraced ? yield* askedByFibers(exchangeTraced) : askUntraced,
    epoch,
    epochAtOnce,
    counters: Effect.sync(() => ({ ...counters })),
    servers: Effect.map(monotonicMillis, (now) => memory.list(now))
  })

  /** One line when a set falls silent. One that answered others meanwhile has a name that is broken, no more. */
  function noteSilence(set: string, reason: ResolutionReason, since: number): void {
    counters.failures++
    if (reason._tag !== "Timeout" && reason._tag !== "NoResolver") return
    if (silentSets.has(set) || (answeredAt.get(set) ?? Number.NEGATIVE_INFINITY) >= since) return
    silentSets.add(set)
    const cause = reason._tag === "Timeout" ? `no answer within ${reason.afterMs} ms` : reason.detail
    run(Effect.logWarning(`Resolver ${set} does not answer: ${cause}`))
  }
})

/** What a set says of IPv6 addresses that is told to give none. */
const nothingOf = ({ domain, type }: UpstreamQuestion): Outcome => ({
  _tag: "Answer",
  message: { ...emptyMessage, response: true, questions: [{ name: domain, type, class: classInternet }] }
})
