import * as Effect from "effect/Effect"
import { recordType } from "../../src/dns/registry.ts"
import type { Upstream } from "../../src/dns/Upstream.ts"
import type { ResolutionReason } from "../../src/resolution/Resolver.ts"

/** Asks for the root's servers, which every server has, or refuses at once: why there was no answer of use, `null` where there was. */
export const askRoot = (
  upstream: Upstream["Service"],
  set: string,
  withinMs: number
): Effect.Effect<ResolutionReason | null> =>
  Effect.match(upstream.exchange(set, { domain: ".", type: recordType.NS }, withinMs), {
    onFailure: ({ reason }) => reason,
    onSuccess: () => null
  })

/** Whether a DNS message came back, be it a refusal. */
export const hasAnswered = (failure: ResolutionReason | null): boolean =>
  failure === null || failure._tag === "ServerFailure"
