import * as Effect from "effect/Effect"
import { recordType } from "../../src/dns/registry.ts"
import type { Upstream } from "../../src/dns/Upstream.ts"
import type { ResolutionReason } from "../../src/resolution/Resolver.ts"

/**
 * Never there (RFC 6761, §6.4), so no server has to ask another one for it, and none has it in a zone that is broken. The
 * root's servers, which every server knows too, are asked for by attacks: there are hosts that ban who does.
 */
const harmless = { domain: "probe.invalid", type: recordType.A }

/** Why there was no DNS message of use, `null` where there was. */
export const askWhetherAlive = (
  upstream: Upstream["Service"],
  set: string,
  withinMs: number
): Effect.Effect<ResolutionReason | null> =>
  Effect.match(upstream.exchange(set, harmless, withinMs), {
    onFailure: ({ reason }) => reason,
    onSuccess: () => null
  })

/** Whether a DNS message came back, be it a refusal. */
export const hasAnswered = (failure: ResolutionReason | null): boolean =>
  failure === null || failure._tag === "ServerFailure"
