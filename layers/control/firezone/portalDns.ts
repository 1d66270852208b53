/**
 * The DNS service of the portal mode: clients answer address questions about resources themselves
 * and ask here for the SRV and TXT records, which the host's own servers know.
 */
import { questionSpan } from "../../../src/dns/questionSpan.ts"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { Authorizations } from "../../../src/access/Authorizations.ts"
import { recordType } from "../../../src/dns/registry.ts"
import type { TunnelAnswer, TunnelQuestion } from "../../../src/dns/tunnelAnswer.ts"
import { mayHaveHints, noHints } from "../../../src/dns/serviceHints.ts"
import { answerQuery } from "../../../src/dns/tunnelServer.ts"
import type { DnsHandler } from "../../../src/host/DnsSockets.ts"
import { awaitLater } from "../../../src/loops/later.ts"
import { monotonicMillisUnsafe } from "../../../src/loops/monotonic.ts"
import { matches } from "../../../src/model/DomainPattern.ts"
import { type Asker, makeAdmission, makeAsker } from "../../dns/askers.ts"
import { makeDnsForwarder } from "../../dns/dnsForwarder.ts"

const withinMs = 5_000
/** Sources remembered; who has been quiet longest is forgotten, and begins anew. */
const maxSources = 4_096

const forwarded: ReadonlySet<number> = new Set([recordType.SRV, recordType.TXT])

/** Answers what lies under a DNS resource of the asking client; everything else is refused. */
export const makePortalDns = Effect.gen(function* () {
  const authorizations = yield* Authorizations
  const forwarder = yield* makeDnsForwarder
  const admission = makeAdmission()
  const clock = yield* Clock.Clock
  const sources = new Map<string, Asker>()

  const sourceOf = (address: string): Asker => {
    const source = sources.get(address) ?? makeAsker(address)
    sources.delete(address)
    sources.set(address, source)
    if (sources.size > maxSources) sources.delete(sources.keys().next().value!)
    return source
  }

  const resolverOf = Effect.fnUntraced(function* (source: string, domain: string) {
    for (const { client, resource } of yield* authorizations.list) {
      if (resource.kind !== "dns" || (client.tunnel4 !== source && client.tunnel6 !== source)) continue
      if (matches(resource.pattern, domain)) return resource.resolver
    }
    return undefined
  })

  const answer = Effect.fnUntraced(function* (
    address: string,
    question: TunnelQuestion
  ): Effect.fn.Return<TunnelAnswer> {
    const { domain, type } = question
    const source = sourceOf(address)
    // Before anything is looked for: one client must not keep the gateway busy.
    const shed = yield* admission.admit(source)
    if (shed !== null) return shed
    yield* Effect.annotateCurrentSpan({ domain, type })
    if (mayHaveHints(type)) return noHints
    if (!forwarded.has(type)) return { _tag: "Refused" }
    const resolver = yield* resolverOf(address, domain)
    if (resolver === undefined) return { _tag: "Refused" }
    return yield* awaitLater(forwarder.forward(source, resolver, question, withinMs))
  }, questionSpan)

  const handler = (...[query, { address }, transport]: Parameters<DnsHandler>) =>
    answerQuery(query, transport, {
      lookup: (question) => answer(address, question),
      known: () => admission.refuse(sourceOf(address), monotonicMillisUnsafe(clock)),
      mayComplain: () => admission.mayComplain(sourceOf(address), monotonicMillisUnsafe(clock))
    })
  return { handler, counters: () => ({ ...admission.counters(), ...forwarder.counters() }) }
})
