import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { ExpiryClock } from "../../src/access/ExpiryClock.ts"
import { Destinations } from "../../src/access/Destinations.ts"
import { ControlError } from "../../src/cli/ControlClient.ts"
import { explainAccess, type ExplainSources } from "../../src/cli/explainAccess.ts"
import { parseTarget } from "../../src/config/values.ts"
import { chainToResource } from "../../src/control/standalone/chainToResource.ts"
import { canonicalName } from "../../src/dns/name.ts"
import { recordType } from "../../src/dns/registry.ts"
import { Upstream } from "../../src/dns/Upstream.ts"
import { EventLog } from "../../src/events/EventLog.ts"
import { Resolver, Timeout } from "../../src/resolution/Resolver.ts"
import { routeTo } from "../host/hostRoute.ts"
import { jsonRoute } from "./controlRoute.ts"
import { gatewayReport } from "./gatewayReport.ts"

/** For a name that nobody has needed yet. */
const lookUpMs = 6_000

interface Explained extends Pick<ExplainSources, "kind" | "policy" | "files"> {
  readonly about: Parameters<typeof gatewayReport>[0]
  readonly device: string
}

/** `GET /v1/explain?client=…&target=…`: the way of the client's packets, as of now. */
export const explainRoute = <R>(explained: Effect.Effect<Explained, never, R>) =>
  jsonRoute(
    "GET",
    "/v1/explain",
    Effect.fnUntraced(function* (request) {
      const question = new URL(request.url, "http://gateway").searchParams
      const target = parseTarget(question.get("target") ?? "")
      if (Result.isFailure(target)) {
        return yield* new ControlError({ message: `${target.failure.cause} — ${target.failure.fix}` })
      }
      const { about, device, ...rules } = yield* explained
      const { resolve } = yield* Resolver
      const upstream = yield* Upstream
      const sources: ExplainSources = {
        ...rules,
        destinations: yield* Destinations,
        running: {
          report: yield* gatewayReport(about),
          events: yield* (yield* EventLog).list,
          lookUp: (name) =>
            resolve(name).pipe(
              Effect.map(({ addresses }) => addresses),
              Effect.mapError(({ reason }) => reason),
              Effect.timeoutOrElse({ duration: lookUpMs, orElse: () => new Timeout({ afterMs: lookUpMs }) })
            ),
          aliasOf: ({ domain, resolver }, isMeant) =>
            upstream.exchange(resolver, { domain, type: recordType.A }, lookUpMs).pipe(
              Effect.map((message) => {
                const link = chainToResource(domain, message, isMeant)?.at(-1)
                return link === undefined ? null : canonicalName(link.target)
              }),
              // What the servers fail at is told by the lookup.
              Effect.orElseSucceed(() => null)
            ),
          routeTo: (address, from) => routeTo(device, address, from)
        }
      }
      return yield* explainAccess(sources, question.get("client") ?? "", target.success, yield* yield* ExpiryClock)
    })
  )
