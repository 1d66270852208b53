/** One family's addresses of a name, along its aliases, each asked where it belongs. */
import * as Effect from "effect/Effect"
import type { FamilyOutcome } from "../../src/dns/families.ts"
import { canonicalName, isWithin, parentName } from "../../src/dns/name.ts"
import { isPrivateTop } from "../../src/dns/privateZones.ts"
import { type FamilyAnswer, maxChain, readAddresses } from "../../src/dns/query.ts"
import { recordType } from "../../src/dns/registry.ts"
import type { Upstream } from "../../src/dns/Upstream.ts"
import { monotonicMillis } from "../../src/loops/monotonic.ts"
import type { Name } from "../../src/model/Mapping.ts"
import { ResolutionError, type ResolutionReason, ServerFailure, Timeout } from "../../src/resolution/Resolver.ts"

/** Further queries, where servers did not follow a chain to its end. */
const maxAliasQueries = 4

/** A set may be silent about names that are none of its business. */
const strangersMs = 2_000

export interface AliasRules {
  /** Of a whole lookup. */
  readonly totalMs: number
  /** The resolver set whose zone the name is in; `null`: nobody has said. */
  readonly setOf: (domain: string) => string | null
  /** The hosts file's addresses of a name; `undefined`: it has none. */
  readonly hosts: (domain: string) => Effect.Effect<ReadonlyArray<string> | undefined>
  /** Seconds. */
  readonly hostsTtl: number
}

export const makeAskFamily = (upstream: Upstream["Service"], rules: AliasRules) => {
  const { hosts, hostsTtl, setOf, totalMs } = rules

  /** Where a name is asked for that an answer of `set` leads to, one place after the other. */
  const placesOf = (from: Name, set: string, target: string): ReadonlyArray<string> => {
    const zone = setOf(target)
    if (zone !== null) return [zone]
    return set === "system" || isSibling(target, from.domain) ? [set] : [set, "system"]
  }

  const ask = Effect.fnUntraced(function* (from: Name, set: string, domain: string, type: number, withinMs: number) {
    const listed = set === "system" && domain !== from.domain ? yield* hosts(domain) : undefined
    if (listed !== undefined) {
      const addresses = listed.filter((address) => address.includes(":") === (type === recordType.AAAA))
      const answer: FamilyAnswer =
        addresses.length > 0 ? { _tag: "Addresses", addresses, ttl: hostsTtl } : { _tag: "NoData", ttl: hostsTtl }
      return answer
    }
    const message = yield* upstream.exchange(set, { domain, type }, withinMs)
    return readAddresses(domain, type, message, {
      isElsewhere: (name) => (setOf(name) ?? set) !== set,
      isStranger: (name) => placesOf(from, set, name).length > 1
    })
  })

  return Effect.fnUntraced(
    function* (name: Name, type: number): Effect.fn.Return<FamilyOutcome<ResolutionReason>, ResolutionError> {
      const deadline = (yield* monotonicMillis) + totalMs
      const seen = new Set([canonicalName(name.domain)])
      let domain = name.domain
      let places: ReadonlyArray<string> = [name.resolver]
      let ttl = Infinity
      let links = 0
      for (let queries = 0; queries <= maxAliasQueries; queries++) {
        const [set, next] = places as readonly [string, string?]
        const left = deadline - (yield* monotonicMillis)
        const asking = ask(name, set, domain, type, next === undefined ? left : Math.min(left, strangersMs))
        const answer = yield* next === undefined ? asking : Effect.orElseSucceed(asking, () => noWord)
        if (answer._tag === "Unusable") return failed(new ServerFailure({ detail: answer.detail }))
        if (next !== undefined && (answer._tag === "NameNotFound" || answer._tag === "NoData")) {
          places = [next]
          continue
        }
        ttl = Math.min(ttl, answer.ttl)
        if (answer._tag !== "Alias") return { ...answer, ttl }
        domain = answer.target
        links += answer.links
        if (links > maxChain || seen.has(domain)) break
        seen.add(domain)
        places = placesOf(name, set, domain)
      }
      return failed(new ServerFailure({ detail: `${name.domain}: the chain of aliases does not end` }))
    },
    Effect.catchTag("ResolutionError", ({ reason }) =>
      // The last query of a chain had only the rest of the time.
      Effect.succeed(failed(reason._tag === "Timeout" ? new Timeout({ afterMs: totalMs }) : reason))
    )
  )
}

const noWord: FamilyAnswer = { _tag: "NoData", ttl: 0 }

const failed = (failure: ResolutionReason): FamilyOutcome<ResolutionReason> => ({ _tag: "Failed", failure })

/** In the domain that the name is in: whose server knows one of them knows the other. */
const isSibling = (target: string, domain: string): boolean => {
  const parent = parentName(domain)
  return (parent.includes(".", 1) || isPrivateTop(parent)) && isWithin(target, parent)
}
