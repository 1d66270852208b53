/** Each host of a site's PostgreSQL asked by itself, for who wants to know how it is. */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { SiteHostFact } from "../../src/cli/doctorFacts.ts"
import type { PostgresAddress } from "../../src/config/postgresAddress.ts"
import { formatHostPort } from "../../src/packet/endpoint.ts"
import { monotonicMillis } from "../../src/loops/monotonic.ts"
import { connect } from "./connect.ts"

/** Nothing is written, and the connections are closed again. One after the other, since only one name is looked up at a time. */
export const askHosts = (address: PostgresAddress) =>
  Effect.forEach(
    address.hosts,
    Effect.fnUntraced(function* (host) {
      const began = yield* monotonicMillis
      const tried = yield* Effect.result(Effect.scoped(connect({ ...address, hosts: [host] })))
      const fact: SiteHostFact = {
        at: formatHostPort(host.host, host.port),
        tookMs: Math.max(1, Math.round((yield* monotonicMillis) - began)),
        problem: Result.isFailure(tried) ? tried.failure.message : null,
        isStandby: Result.isFailure(tried) && tried.failure.reason === "Standby"
      }
      return fact
    })
  )
