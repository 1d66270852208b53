/** What other servers, and the host's own files, say of names: told as far as the client can reach the addresses. */
import * as Effect from "effect/Effect"
import { Destinations } from "../../../src/access/Destinations.ts"
import { hostsTtl, type NameRights, type NameRoute } from "../../../src/control/standalone/nameRoutes.ts"
import { FilteredAddresses, refusalOf } from "../../../src/control/standalone/tellable.ts"
import { extendedErrorCode } from "../../../src/dns/extendedError.ts"
import type { Message } from "../../../src/dns/message.ts"
import { filterAddresses } from "../../../src/dns/filterAddresses.ts"
import { mayHaveHints, noHints } from "../../../src/dns/serviceHints.ts"
import type { TunnelAnswer, TunnelQuestion } from "../../../src/dns/tunnelAnswer.ts"
import { IpFamilies } from "../../../src/host/IpFamilies.ts"
import { atOnce, type Later, mapLater, type Told } from "../../../src/loops/later.ts"
import { monotonicMillis } from "../../../src/loops/monotonic.ts"
import type { Asker } from "../../dns/askers.ts"
import type { makeDnsForwarder } from "../../dns/dnsForwarder.ts"

/** How long another server may take for a question. */
export const forwardMs = 4_000

/** Who asks. */
interface Questioner extends Asker {
  readonly rights: NameRights
  /** All that it sends anywhere comes through the tunnel. */
  readonly internet: boolean
}

export const makeForeignAnswers = Effect.fnUntraced(function* (forwarder: Effect.Success<typeof makeDnsForwarder>) {
  const policy = yield* Destinations
  const families = yield* IpFamilies
  const filtered = new FilteredAddresses()

  /** Judges addresses of one answer, and then tells of those left out. */
  const judge = (of: Questioner, domain: string, now: number, isPublicTold: boolean) => {
    let first: { readonly address: string; readonly why: string } | null = null
    return {
      keep: (address: string): boolean => {
        const why = refusalOf(of.rights, domain, address, now, { isPublicTold, policy })
        if (why !== undefined) first ??= { address, why }
        // What comes through the tunnel anyhow has no other way out than ours.
        return why === undefined && (!of.internet || !address.includes(":") || families.leadsTo(address))
      },
      leavesOut: () => first !== null,
      tell: Effect.suspend(() => (first === null ? Effect.undefined : tellFiltered(of.rights.client, domain, first)))
    }
  }

  const tellFiltered = Effect.fnUntraced(function* (
    client: string,
    name: string,
    what: { readonly address: string; readonly why: string }
  ) {
    if (filtered.note({ ...what, client, name, at: yield* monotonicMillis })) {
      yield* Effect.logInfo(
        "left an address out of a DNS answer: no network resource of the client leads there (told once a minute)"
      ).pipe(Effect.annotateLogs({ client, name, ...what, all: filtered.count }))
    }
    return { code: extendedErrorCode.Filtered, text: "an address that this client cannot reach" }
  })

  return {
    filtered,

    /** What the servers of a resolver set say; `instead` has the answer where theirs leads back to one of ours. */
    forward: (
      of: Questioner,
      { as, resolver }: Extract<NameRoute, { _tag: "Forward" }>,
      question: TunnelQuestion,
      now: number,
      instead: (message: Message) => Effect.Effect<TunnelAnswer> | undefined
    ): Later<Told<TunnelAnswer>> => {
      // Their hints are for names outside: in a private zone they would lead clients past the proxy IPs.
      if (as !== "outside" && mayHaveHints(question.type)) return atOnce(noHints)
      const { keep, leavesOut, tell } = judge(of, question.domain, now, as !== "networks")
      return mapLater(forwarder.forward(of, resolver, question, forwardMs, keep), (answer) => {
        const own = answer._tag === "Forwarded" ? instead(answer.message) : undefined
        if (own !== undefined) return own
        const isNone = as === "networks" && !leadsSomewhere(answer)
        const here: TunnelAnswer = isNone ? { _tag: "NameError", ttl: 5 } : answer
        if (!leavesOut()) return here
        return Effect.map(tell, (error) =>
          error === undefined || here._tag !== "Forwarded" ? here : { ...here, error }
        )
      })
    },

    /** The same at once, where it is kept, all of it may be told, and it does not lead back to one of ours (`isOurs`). */
    cached: (
      of: Questioner,
      { as, resolver }: Extract<NameRoute, { _tag: "Forward" }>,
      question: TunnelQuestion,
      now: number,
      monotonic: number,
      isOurs: (message: Message) => boolean
    ): TunnelAnswer | undefined => {
      if (as !== "outside" && mayHaveHints(question.type)) return noHints
      return forwarder.cached(resolver, question, monotonic, (message) => {
        if (isOurs(message)) return undefined
        const { keep, leavesOut } = judge(of, question.domain, now, as !== "networks")
        const answer: TunnelAnswer = { _tag: "Forwarded", message: filterAddresses(message, keep) }
        if (leavesOut()) return undefined
        return as === "networks" && !leadsSomewhere(answer) ? { _tag: "NameError", ttl: 5 } : answer
      })
    },

    /** What the hosts file says. */
    fromHosts: Effect.fnUntraced(function* (
      of: Questioner,
      addresses: ReadonlyArray<string>,
      question: TunnelQuestion,
      now: number
    ): Effect.fn.Return<TunnelAnswer> {
      const { keep, tell } = judge(of, question.domain, now, true)
      const kept = addresses.filter(keep)
      const error = yield* tell
      return error !== undefined && kept.length === 0
        ? { _tag: "NoData", ttl: hostsTtl, error }
        : { _tag: "Addresses", addresses: kept, ttl: hostsTtl }
    })
  }
})

const leadsSomewhere = (answer: TunnelAnswer): boolean =>
  answer._tag === "Forwarded" && answer.message.answers.some(({ data }) => data._tag === "Address")
