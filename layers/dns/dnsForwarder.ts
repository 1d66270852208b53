/** Questions of clients that other servers have to answer: their answers take seconds, so that only so many may wait. */
import * as Effect from "effect/Effect"
import type { TunnelAnswer, TunnelQuestion } from "../../src/dns/tunnelAnswer.ts"
import { type ExtendedError, extendedErrorCode } from "../../src/dns/extendedError.ts"
import { filterAddresses } from "../../src/dns/filterAddresses.ts"
import { Upstream } from "../../src/dns/Upstream.ts"
import type { ResolutionReason } from "../../src/resolution/Resolver.ts"

/** DNS questions of one client. */
export const questionLimit = { perSecond: 100, burst: 200 } as const
/** Of all clients and of one; the tunnel's DNS server answers no more than 256 questions at a time. */
const maxWaiting = 192
const maxWaitingPerAsker = 32

/** Who asks, with the number of its questions that wait. */
export interface Asker {
  forwards: number
}

export const makeDnsForwarder = Effect.map(Upstream, (upstream) => {
  let waiting = 0
  let refused = 0
  return {
    /** Questions that found no place. */
    refused: () => refused,
    /**
     * What the resolver set says within that time, with the addresses that `keep` lets through: none by default, since
     * those of resources' names are real ones, and clients have their own for them. A failure too when there is no place
     * to wait.
     */
    forward: (
      of: Asker,
      set: string,
      question: TunnelQuestion,
      withinMs: number,
      keep: (address: string) => boolean = () => false
    ): Effect.Effect<TunnelAnswer> =>
      Effect.suspend(() => {
        if (waiting >= maxWaiting || of.forwards >= maxWaitingPerAsker) {
          refused++
          return Effect.succeed<TunnelAnswer>({
            _tag: "ServerFailure",
            error: { code: extendedErrorCode.Other, text: "too many questions wait for other servers" }
          })
        }
        waiting++
        of.forwards++
        return upstream.exchange(set, question, withinMs).pipe(
          Effect.match({
            onSuccess: (message): TunnelAnswer => ({ _tag: "Forwarded", message: filterAddresses(message, keep) }),
            onFailure: ({ reason }): TunnelAnswer => ({ _tag: "ServerFailure", error: errorOf(reason) })
          }),
          Effect.ensuring(
            Effect.sync(() => {
              waiting--
              of.forwards--
            })
          )
        )
      })
  }
})

const errorOf = ({ _tag }: ResolutionReason): ExtendedError =>
  _tag === "ServerFailure"
    ? { code: extendedErrorCode.NetworkError, text: "the servers could not answer" }
    : { code: extendedErrorCode.NoReachableServer, text: "no answer from any server" }
