/** Rules that a gateway must not run without: the compiler misses them, and so does the one who builds it all the same. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Layer } from "effect"
import * as AuthorizationsLive from "../../layers/access/Authorizations.ts"
import * as ClientsLive from "../../layers/access/Clients.ts"
import * as ConnectionAcceptorLive from "../../layers/access/ConnectionAcceptor.ts"
import { clientsStay } from "../../layers/control/standalone/ControlPlaneStandalone.ts"
import * as DataPlaneRecording from "../../layers/memory/DataPlaneRecording.ts"
import * as ResolverMemory from "../../layers/memory/ResolverMemory.ts"
import * as ResolutionsLive from "../../layers/resolution/Resolutions.ts"
import type { LastAuthorizationEnded } from "../../src/access/Authorizations.ts"
import type { ConnectionAcceptor } from "../../src/access/ConnectionAcceptor.ts"
import type { ProxyRanges } from "../../src/access/ProxyRanges.ts"
import type { AnswerPolicy } from "../../src/resolution/AnswerPolicy.ts"
import { anyAnswer, defaultProxies } from "../support/access.ts"

type Whole = Layer.Layer<ConnectionAcceptor>

const withoutRules = ConnectionAcceptorLive.layer.pipe(
  Layer.provide([AuthorizationsLive.layer, ClientsLive.layer]),
  Layer.provide(ResolutionsLive.layer),
  Layer.provide([ResolverMemory.layer, DataPlaneRecording.layer])
)

const without = {
  nothing: withoutRules.pipe(Layer.provide([anyAnswer, defaultProxies, clientsStay])),
  answerPolicy: withoutRules.pipe(Layer.provide([defaultProxies, clientsStay])),
  proxyRanges: withoutRules.pipe(Layer.provide([anyAnswer, clientsStay])),
  lastAuthorizationEnded: withoutRules.pipe(Layer.provide([anyAnswer, defaultProxies]))
}

const building = (composition: Whole) => Effect.exit(Effect.scoped(Layer.build(composition)))

const assertMissing = Effect.fnUntraced(function* (composition: Whole, service: string) {
  const exit = yield* building(composition)
  assert(Exit.isFailure(exit), `built without ${service}`)
  assert.include(Cause.pretty(exit.cause), `Service not found: ${service}`)
})

describe("a composition", () => {
  it.effect("with every rule is whole", () =>
    Effect.gen(function* () {
      assert(Exit.isSuccess(yield* building(without.nothing)))
    })
  )

  it.effect("without the rule which answers of DNS are refused is a type error", () => {
    without.answerPolicy satisfies Layer.Layer<ConnectionAcceptor, never, AnswerPolicy>
    // @ts-expect-error AnswerPolicy is missing
    // @effect-diagnostics-next-line missingLayerContext:off
    return assertMissing(without.answerPolicy, "sallyport/resolution/AnswerPolicy")
  })

  it.effect("without the ranges that proxy IPs lie in is a type error", () => {
    without.proxyRanges satisfies Layer.Layer<ConnectionAcceptor, never, ProxyRanges>
    // @ts-expect-error ProxyRanges is missing
    // @effect-diagnostics-next-line missingLayerContext:off
    return assertMissing(without.proxyRanges, "sallyport/access/ProxyRanges")
  })

  it.effect("without what becomes of a client after its last authorization is a type error", () => {
    without.lastAuthorizationEnded satisfies Layer.Layer<ConnectionAcceptor, never, LastAuthorizationEnded>
    // @ts-expect-error LastAuthorizationEnded is missing
    // @effect-diagnostics-next-line missingLayerContext:off
    return assertMissing(without.lastAuthorizationEnded, "sallyport/access/LastAuthorizationEnded")
  })
})
