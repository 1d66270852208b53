import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { combineFamilies, type FamilyOutcome } from "../../src/dns/families.ts"
import { parseHosts } from "../../src/dns/hosts.ts"
import { canonicalName } from "../../src/dns/name.ts"
import { recordType } from "../../src/dns/registry.ts"
import { Upstream } from "../../src/dns/Upstream.ts"
import type { Name } from "../../src/model/Mapping.ts"
import {
  type Answer,
  NameNotFound,
  NoAddresses,
  ResolutionError,
  type ResolutionReason,
  Resolver,
  Timeout
} from "../../src/resolution/Resolver.ts"
import { makeAskFamily } from "./askFamily.ts"
import type { UpstreamOptions } from "./Upstream.ts"
import { watchedFile } from "../host/watchedFile.ts"

export interface ResolverOptions extends UpstreamOptions {
  /** Path; read again when it changes. Its entries win for the set `system` and apply to no other. */
  readonly hosts?: string
  /** The resolver set that knows the zone of a name that an alias leads to; `null`, for all when left out: nobody has said. */
  readonly setOf?: (domain: string) => string | null
  /** How long an answer of one family waits for the other one's. */
  readonly graceMs?: number
}

/** A hosts file has no TTLs; a change is noticed after this many seconds of use. */
const hostsTtl = 10

/** On any `Upstream`. */
export const layer = (options: ResolverOptions): Layer.Layer<Resolver, never, Upstream> =>
  Layer.effect(
    Resolver,
    Effect.gen(function* () {
      const upstream = yield* Upstream
      const { hosts = "/etc/hosts", graceMs = 1500, setOf = () => null, totalMs = 10_000 } = options
      const hostsFile = watchedFile(hosts, parseHosts)

      const hostsAddresses = (domain: string): Effect.Effect<ReadonlyArray<string> | undefined> =>
        hostsFile.pipe(
          Effect.map((entries) => entries.get(canonicalName(domain))),
          // Without a hosts file DNS alone decides.
          Effect.orElseSucceed(() => undefined)
        )

      const family = makeAskFamily(upstream, { totalMs, setOf, hosts: hostsAddresses, hostsTtl })

      const lookup = Effect.fnUntraced(function* (name: Name) {
        // A server may answer one family and swallow the other: what is known then does not wait for its time-out.
        const settled = yield* Deferred.make<void>()
        const patient = (type: number): Effect.Effect<FamilyOutcome<ResolutionReason>> =>
          family(name, type).pipe(
            Effect.tap((outcome) =>
              outcome._tag === "Addresses" || outcome._tag === "NameNotFound"
                ? Deferred.succeed(settled, undefined)
                : Effect.void
            ),
            Effect.raceFirst(
              Deferred.await(settled).pipe(
                Effect.andThen(Effect.sleep(graceMs)),
                Effect.map(() => failed(new Timeout({ afterMs: graceMs })))
              )
            )
          )
        if (name.family !== undefined) return yield* family(name, name.family === 4 ? recordType.A : recordType.AAAA)
        const [v4, v6] = yield* Effect.all([patient(recordType.A), patient(recordType.AAAA)], { concurrency: 2 })
        // The server came back between the two: what it would say of the other family is a question away.
        if (isUnreached(v4) && v6._tag === "Addresses") return combineFamilies(yield* patient(recordType.A), v6)
        if (isUnreached(v6) && v4._tag === "Addresses") return combineFamilies(v4, yield* patient(recordType.AAAA))
        return combineFamilies(v4, v6)
      })

      return Resolver.of({
        resolve: Effect.fn("Resolver.resolve")(function* (name) {
          yield* Effect.annotateCurrentSpan({ resolver: name.resolver, domain: name.domain })
          const entry = name.resolver === "system" ? yield* hostsAddresses(name.domain) : undefined
          if (entry !== undefined) {
            const addresses = entry.filter(
              (text) => name.family === undefined || text.includes(":") === (name.family === 6)
            )
            if (addresses.length > 0) return { addresses, ttlSeconds: hostsTtl }
            return yield* failure(name, new NoAddresses({ ttlSeconds: hostsTtl }))
          }
          const outcome = yield* lookup(name)
          if (outcome._tag === "Addresses") {
            return { addresses: outcome.addresses, ttlSeconds: outcome.ttl } satisfies Answer
          }
          return yield* failure(name, reasonOf(outcome))
        })
      })
    })
  )

const failure = ({ domain, resolver }: Name, reason: ResolutionReason) =>
  new ResolutionError({ resolver, domain, reason })

const failed = (failure: ResolutionReason): FamilyOutcome<ResolutionReason> => ({ _tag: "Failed", failure })

const isUnreached = (outcome: FamilyOutcome<ResolutionReason>): boolean =>
  outcome._tag === "Failed" && outcome.failure._tag === "NoResolver"

const reasonOf = (outcome: Exclude<FamilyOutcome<ResolutionReason>, { _tag: "Addresses" }>): ResolutionReason => {
  if (outcome._tag === "Failed") return outcome.failure
  return outcome._tag === "NameNotFound"
    ? new NameNotFound({ ttlSeconds: outcome.ttl })
    : new NoAddresses({ ttlSeconds: outcome.ttl })
}
