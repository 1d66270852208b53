/** The DNS service of the portal mode: who is answered what, and how often. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { TestClock } from "effect/testing"
import { makePortalDns } from "../../../../layers/control/firezone/portalDns.ts"
import { Authorizations } from "../../../../src/access/Authorizations.ts"
import { decode } from "../../../../src/dns/decode.ts"
import { encode } from "../../../../src/dns/encode.ts"
import { emptyMessage, isMalformed } from "../../../../src/dns/message.ts"
import { rcode, recordType } from "../../../../src/dns/registry.ts"
import { waitFor } from "../../../../src/host/DnsSockets.ts"
import type { Authorization } from "../../../../src/model/Authorization.ts"
import type { Resource } from "../../../../src/model/Resource.ts"
import { upstreamMock } from "../../../support/upstreamMock.ts"
import { clientId, resourceId, tunnel4, tunnel6 } from "../../../support/engineWorld.ts"

const resource: Resource = {
  id: resourceId("app"),
  kind: "dns",
  pattern: "*.example.com",
  resolver: "system",
  filters: [],
  allow: []
}

const authorization = (n: number): Authorization => ({
  client: { id: clientId(n), publicKey: "", presharedKey: null, tunnel4: tunnel4(n), tunnel6: tunnel6(n) },
  resource,
  expiresAt: null
})

/** Servers that answer after a second; how many questions they were asked. */
const service = Effect.gen(function* () {
  const counts = { scans: 0, asked: 0 }
  const authorizations = Layer.mock(Authorizations, {
    list: Effect.sync(() => {
      counts.scans++
      return [authorization(1), authorization(2)]
    })
  })
  const upstream = upstreamMock({
    epoch: () => Effect.succeed(0),
    epochAtOnce: () => 0,
    exchange: () =>
      Effect.suspend(() => {
        counts.asked++
        return Effect.as(Effect.sleep("1 second"), { ...emptyMessage, response: true })
      })
  })
  const { counters, handler } = yield* makePortalDns.pipe(
    Effect.provide(yield* Layer.build(Layer.merge(authorizations, upstream)))
  )
  const ask = (n: number, name = "a.example.com", type: number = recordType.SRV) =>
    Effect.forkChild(
      Effect.map(
        waitFor(
          handler(
            encode({ ...emptyMessage, id: 7, questions: [{ name, type, class: 1 }] })!,
            { address: tunnel4(n), port: 5_353 },
            "udp"
          )
        ),
        (bytes) => {
          if (bytes === null) return null
          const message = decode(bytes)
          return isMalformed(message) ? "malformed" : message.rcode
        }
      )
    )
  const askMany = (count: number, n: number) => Effect.all(Array.from({ length: count }, () => ask(n)))
  /** Each answer's code, once the servers have answered. */
  const codes = (fibers: ReadonlyArray<Fiber.Fiber<number | string | null>>) =>
    Effect.andThen(TestClock.adjust("1 second"), Fiber.joinAll(fibers))
  return { ask, askMany, codes, counts, counters }
})

describe("the portal's DNS service", () => {
  it.effect("forwards questions about the client's resources, and refuses all others", () =>
    Effect.gen(function* () {
      const { ask, codes, counts } = yield* service
      const asked = [
        yield* ask(1),
        yield* ask(1, "a.example.com", recordType.TXT),
        yield* ask(1, "a.example.com", recordType.A),
        yield* ask(1, "other.test"),
        yield* ask(3)
      ]
      const { NoError, Refused } = rcode
      assert.deepStrictEqual(yield* codes(asked), [NoError, NoError, Refused, Refused, Refused])
      assert.strictEqual(counts.asked, 2)
    })
  )

  it.effect("lets no client take the room of others where servers are slow", () =>
    Effect.gen(function* () {
      const { ask, codes, counts } = yield* service
      const many = yield* Effect.forEach(
        Array.from({ length: 200 }, (_, n) => n),
        (n) => ask(1, `n${n}.example.com`)
      )
      const other = yield* ask(2)
      assert.deepStrictEqual(yield* codes([other]), [rcode.NoError])
      assert.strictEqual(counts.asked, 200 + 1)
      const answers = yield* codes(many)
      assert.isTrue(answers.every((code) => code === rcode.NoError))
    })
  )

  it.effect("tells a client that asks without end so, and looks for nothing; others get their answers", () =>
    Effect.gen(function* () {
      const { ask, askMany, codes, counters, counts } = yield* service
      const asking = [...(yield* askMany(3_000, 1)), yield* ask(2)]
      yield* TestClock.adjust("1 second")
      const answers = yield* codes(asking)
      assert.lengthOf(
        answers.filter((code) => code === rcode.ServFail),
        1_500
      )
      assert.strictEqual(counts.scans, 1_501)
      assert.deepInclude(counters(), { questions_waited: 500, questions_refused: 1_500 })
      assert.strictEqual(answers.at(-1), rcode.NoError)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* codes(yield* askMany(1, 1)), [rcode.NoError])
    })
  )
})
