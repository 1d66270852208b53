import * as Deferred from "effect/Deferred"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { combineFamilies, type FamilyOutcome } from "../../src/dns/families.ts"
import { parseHosts } from "../../src/dns/hosts.ts"
import { canonicalName } from "../../src/dns/name.ts"
import { readAddresses } from "../../src/dns/query.ts"
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
  ServerFailure,
  Timeout
} from "../../src/resolution/Resolver.ts"
import type { UpstreamOptions } from "./Upstream.ts"
import { watchedFile } from "../host/watchedFile.ts"

export interface ResolverOptions extends UpstreamOptions {
  /** Path; read again when it changes. Its entries win for the set `system` and apply to no other. */
  readonly hosts?: string
  /** How long an answer of one family waits for the other one's. */
  readonly graceMs?: number
}

/** A hosts file has no TTLs; a change is noticed after this many seconds of use. */
const hostsTtl = 10

/** Further queries for an alias whose server did not follow it. */
const maxAliasQueries = 4

/** On any `Upstream`. */
export const layer = (options: ResolverOptions): Layer.Layer<Resolver, never, Upstream> =>
  Layer.effect(
    Resolver,
    Effect.gen(function* () {
      const upstream = yield* Upstream
      const { hosts = "/etc/hosts", graceMs = 1500, totalMs = 10_000 } = options
      const hostsFile = watchedFile(hosts, parseHosts)

      const hostsEntry = (name: Name): Effect.Effect<ReadonlyArray<string> | undefined> =>
        name.resolver !== "system"
          ? Effect.undefined
          : hostsFile.pipe(
              Effect.map((entries) => entries.get(canonicalName(name.domain))),
              // Without a hosts file DNS alone decides.
              Effect.orElseSucceed(() => undefined)
            )

      const askFamily = Effect.fnUntraced(function* (name: Name, type: number) {
        const deadline = (yield* Clock.monotonicTimeNanos) + BigInt(totalMs) * 1_000_000n
        let target = name.domain
        let ttl = Infinity
        for (let i = 0; i <= maxAliasQueries; i++) {
          const left = Math.ceil(Number(deadline - (yield* Clock.monotonicTimeNanos)) / 1e6)
          const message = yield* upstream.exchange(name.resolver, { domain: target, type }, left)
          const answer = readAddresses(target, type, message)
          if (answer._tag === "Unusable") return failed(new ServerFailure({ detail: answer.detail }))
          ttl = Math.min(ttl, answer.ttl)
          if (answer._tag !== "Alias") return { ...answer, ttl }
          target = answer.target
        }
        return failed(new ServerFailure({ detail: `${name.domain}: the chain of aliases does not end` }))
      })

      const family = (name: Name, type: number): Effect.Effect<FamilyOutcome<ResolutionReason>> =>
        askFamily(name, type).pipe(
          Effect.catchTag("ResolutionError", ({ reason }) =>
            // The last query of a chain had only the rest of the time.
            Effect.succeed(failed(reason._tag === "Timeout" ? new Timeout({ afterMs: totalMs }) : reason))
          )
        )

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
        const [v4, v6] = yield* Effect.all([patient(recordType.A), patient(recordType.AAAA)], { concurrency: 2 })
        // The server came back between the two: what it would say of the other family is a question away.
        if (isUnreached(v4) && v6._tag === "Addresses") return combineFamilies(yield* patient(recordType.A), v6)
        if (isUnreached(v6) && v4._tag === "Addresses") return combineFamilies(v4, yield* patient(recordType.AAAA))
        return combineFamilies(v4, v6)
      })

      return Resolver.of({
        resolve: Effect.fn("Resolver.resolve")(function* (name) {
          yield* Effect.annotateCurrentSpan({ resolver: name.resolver, domain: name.domain })
          const entry = yield* hostsEntry(name)
          if (entry !== undefined) return { addresses: entry, ttlSeconds: hostsTtl }
          const outcome = yield* lookup(name)
          if (outcome._tag === "Addresses") {
            return { addresses: outcome.addresses, ttlSeconds: outcome.ttl } satisfies Answer
          }
          return yield* new ResolutionError({ ...name, reason: reasonOf(outcome) })
        })
      })
    })
  )

const failed = (failure: ResolutionReason): FamilyOutcome<ResolutionReason> => ({ _tag: "Failed", failure })

const isUnreached = (outcome: FamilyOutcome<ResolutionReason>): boolean =>
  outcome._tag === "Failed" && outcome.failure._tag === "NoResolver"

const reasonOf = (outcome: Exclude<FamilyOutcome<ResolutionReason>, { _tag: "Addresses" }>): ResolutionReason => {
  if (outcome._tag === "Failed") return outcome.failure
  return outcome._tag === "NameNotFound"
    ? new NameNotFound({ ttlSeconds: outcome.ttl })
    : new NoAddresses({ ttlSeconds: outcome.ttl })
}
