/**
 * The DNS service of the portal mode (firezone-protocol §5.7): clients answer address questions about resources themselves
 * and ask here for the SRV and TXT records, which the host's own servers know.
 */
import * as Effect from "effect/Effect"
import { Authorizations } from "../src/access/Authorizations.ts"
import { recordType } from "../src/dns/registry.ts"
import type { TunnelAnswer, TunnelQuestion } from "../src/dns/tunnelAnswer.ts"
import { filterAddresses, handleQuery } from "../src/dns/tunnelServer.ts"
import { Upstream } from "../src/dns/Upstream.ts"
import type { DnsHandler } from "../src/host/DnsSockets.ts"
import { matches } from "../src/model/DomainPattern.ts"

/** Questions that wait for other servers. */
const maxForwards = 192
const withinMs = 5_000

const forwarded: ReadonlySet<number> = new Set([recordType.SRV, recordType.TXT])

/** Answers what lies under a DNS resource of the asking client; everything else is refused. */
export const makePortalDns = Effect.gen(function* () {
  const authorizations = yield* Authorizations
  const upstream = yield* Upstream
  let waiting = 0

  const resolverOf = Effect.fnUntraced(function* (source: string, domain: string) {
    for (const { client, resource } of yield* authorizations.list) {
      if (resource.kind !== "dns" || (client.tunnel4 !== source && client.tunnel6 !== source)) continue
      if (matches(resource.pattern, domain)) return resource.resolver
    }
    return undefined
  })

  const answer = Effect.fn("ControlPlane.question")(function* (
    source: string,
    question: TunnelQuestion
  ): Effect.fn.Return<TunnelAnswer> {
    const { domain, type } = question
    yield* Effect.annotateCurrentSpan({ domain, type })
    if (!forwarded.has(type)) return { _tag: "Refused" }
    const resolver = yield* resolverOf(source, domain)
    if (resolver === undefined) return { _tag: "Refused" }
    if (waiting >= maxForwards) return { _tag: "ServerFailure" }
    waiting++
    return yield* upstream.exchange(resolver, domain, type, withinMs).pipe(
      Effect.match({
        // Addresses beside the answer are real ones; the client has its own for these names.
        onSuccess: (message): TunnelAnswer => ({ _tag: "Forwarded", message: filterAddresses(message, () => false) }),
        onFailure: (): TunnelAnswer => ({ _tag: "ServerFailure" })
      }),
      Effect.ensuring(Effect.sync(() => waiting--))
    )
  })

  const handler: DnsHandler = (query, source, transport) =>
    handleQuery(query, transport, (question) => answer(source.address, question))
  return handler
})
