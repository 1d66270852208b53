/**
 * The DNS service of the portal mode (firezone-protocol §5.7): clients answer address questions about resources themselves
 * and ask here for the SRV and TXT records, which the host's own servers know.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { Authorizations } from "../src/access/Authorizations.ts"
import { recordType } from "../src/dns/registry.ts"
import type { TunnelAnswer, TunnelQuestion } from "../src/dns/tunnelAnswer.ts"
import { filterAddresses, handleQuery } from "../src/dns/tunnelServer.ts"
import { Upstream } from "../src/dns/Upstream.ts"
import type { DnsHandler } from "../src/host/DnsSockets.ts"
import { matches } from "../src/model/DomainPattern.ts"

/** Questions of one source per second, and at once; more get no answer. */
const perSecond = 100
const burst = 200
/** Questions that wait for other servers, of all sources and of one. */
const maxForwards = 192
const maxForwardsPerSource = 32
const withinMs = 5_000
/** Sources remembered; who has been quiet longest is forgotten, and begins anew. */
const maxSources = 4_096

interface Source {
  forwards: number
  /** Tokens missing from its bucket, and when that was so. */
  missing: number
  at: number
}

const forwarded: ReadonlySet<number> = new Set([recordType.SRV, recordType.TXT])

/** Answers what lies under a DNS resource of the asking client; everything else is refused. */
export const makePortalDns = Effect.gen(function* () {
  const authorizations = yield* Authorizations
  const upstream = yield* Upstream
  const sources = new Map<string, Source>()
  let waiting = 0

  const sourceOf = (address: string, now: number): Source => {
    const source = sources.get(address) ?? { forwards: 0, missing: 0, at: now }
    sources.delete(address)
    sources.set(address, source)
    if (sources.size > maxSources) sources.delete(sources.keys().next().value!)
    return source
  }

  /** Before anything is looked for: one client must not keep the gateway busy. */
  const isPatient = (source: Source, now: number): boolean => {
    const missing = Math.max(0, source.missing - ((now - source.at) * perSecond) / 1_000)
    source.at = now
    source.missing = missing + 1 > burst ? missing : missing + 1
    return source.missing !== missing
  }

  const resolverOf = Effect.fnUntraced(function* (source: string, domain: string) {
    for (const { client, resource } of yield* authorizations.list) {
      if (resource.kind !== "dns" || (client.tunnel4 !== source && client.tunnel6 !== source)) continue
      if (matches(resource.pattern, domain)) return resource.resolver
    }
    return undefined
  })

  const answer = Effect.fn("ControlPlane.question")(function* (
    address: string,
    question: TunnelQuestion
  ): Effect.fn.Return<TunnelAnswer> {
    const { domain, type } = question
    const now = yield* Clock.currentTimeMillis
    const source = sourceOf(address, now)
    if (!isPatient(source, now)) return { _tag: "Dropped" }
    yield* Effect.annotateCurrentSpan({ domain, type })
    if (!forwarded.has(type)) return { _tag: "Refused" }
    const resolver = yield* resolverOf(address, domain)
    if (resolver === undefined) return { _tag: "Refused" }
    if (waiting >= maxForwards || source.forwards >= maxForwardsPerSource) return { _tag: "ServerFailure" }
    waiting++
    source.forwards++
    return yield* upstream.exchange(resolver, domain, type, withinMs).pipe(
      Effect.match({
        // Addresses beside the answer are real ones; the client has its own for these names.
        onSuccess: (message): TunnelAnswer => ({ _tag: "Forwarded", message: filterAddresses(message, () => false) }),
        onFailure: (): TunnelAnswer => ({ _tag: "ServerFailure" })
      }),
      Effect.ensuring(
        Effect.sync(() => {
          waiting--
          source.forwards--
        })
      )
    )
  })

  const handler: DnsHandler = (query, source, transport) =>
    handleQuery(query, transport, (question) => answer(source.address, question))
  return handler
})
