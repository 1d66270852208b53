import * as Effect from "effect/Effect"
import * as References from "effect/References"
import type { ServerFact } from "../../src/cli/doctorFacts.ts"
import { describeReason } from "../../src/cli/describeReason.ts"
import { Upstream } from "../../src/dns/Upstream.ts"
import { monotonicMillis } from "../../src/loops/monotonic.ts"
import { formatServer, type ResolverSet } from "../../src/model/ResolverSet.ts"
import { askWhetherAlive, hasAnswered } from "./askWhetherAlive.ts"
import { makeResolverSets } from "./resolverSets.ts"
import * as UpstreamLive from "./Upstream.ts"

/** A server that has not answered by then is silent. */
const patienceMs = 3_000
/** More are not asked. */
const mostServers = 256

/** Asks each server of each set, the host's own among them, by itself: what a set hides, that one of its servers is dead, is seen. */
export const askServers = Effect.fnUntraced(function* (
  sets: ReadonlyMap<string, ResolverSet>
): Effect.fn.Return<ReadonlyArray<ServerFact>> {
  const { planOf } = makeResolverSets(() => sets, resolvConf, patienceMs)
  const alone = new Map<string, ResolverSet>()
  const facts: Array<{ readonly set: string; readonly server: string; readonly key: string }> = []
  const unusable: Array<ServerFact> = []
  for (const set of new Set(["system", ...sets.keys()])) {
    yield* Effect.match(planOf(set), {
      onFailure: ({ detail }) => void unusable.push({ set, server: null, latencyMs: null, detail }),
      onSuccess: ({ servers }) => {
        for (const server of servers) {
          const key = `${set} ${formatServer(server)}`
          alone.set(key, { servers: [server], order: "fallback" })
          facts.push({ set, server: formatServer(server), key })
        }
      }
    })
  }
  const asked = Effect.forEach(facts.slice(0, mostServers), ask, { concurrency: "unbounded" })
  const answers = yield* asked.pipe(
    Effect.provide(UpstreamLive.layer({ sets: () => alone })),
    // It warns of silent servers by itself.
    Effect.provideService(References.MinimumLogLevel, "None")
  )
  return [...unusable, ...answers]
})

const resolvConf = "/etc/resolv.conf"

const ask = Effect.fnUntraced(function* (fact: {
  readonly set: string
  readonly server: string
  readonly key: string
}): Effect.fn.Return<ServerFact, never, Upstream> {
  const { key, server, set } = fact
  const upstream = yield* Upstream
  const since = yield* monotonicMillis
  const failure = yield* askWhetherAlive(upstream, key, patienceMs)
  const latencyMs = (yield* monotonicMillis) - since
  const detail =
    failure === null
      ? null
      : failure._tag === "ServerFailure" || failure._tag === "NoResolver"
        ? failure.detail.replace(`${server}: `, "")
        : describeReason(failure)
  return { set, server, latencyMs: hasAnswered(failure) ? latencyMs : null, detail }
})
