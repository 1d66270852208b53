/** Portal mode while the company's DNS is a black hole: everything is answered at once, and heals. */
import { fileURLToPath } from "node:url"
import { assert, layer } from "@effect/vitest"
import { Clock, Effect, Queue } from "effect"
import { portalUrl, tokens } from "../../src/lab/demo/portalSite.ts"
import { Lab, type LabHost } from "../../src/lab/demo/Lab.ts"
import { blackHoleDns, inner } from "../support/lab.ts"
import { assertQuiet, PortalWorld, portalWorldLayer } from "../support/portalDeployment.ts"
import { isSyn, isUnreachableAbout, unreachableAbout } from "../support/wire.ts"

const resources = ["*.corp.internal", ...[1, 2, 3, 4].map((n) => `*.fleet${n}.internal`)]
  .map((pattern, index) => `  names${index}: { name: "${pattern}" }`)
  .join("\n")

/** Starts a support program on a host; `ask` sends it a line and yields its answer. */
const program = Effect.fnUntraced(function* (host: LabHost, name: string, ...parameters: ReadonlyArray<string>) {
  const lab = yield* Lab
  const path = fileURLToPath(new URL(`../support/${name}.ts`, import.meta.url))
  const child = yield* lab.spawn(host, [process.execPath, path, ...parameters])
  const line = Effect.timeout(Queue.take(child.lines), "20 seconds")
  assert.strictEqual(yield* line, "ready", yield* child.output)
  return {
    ask: Effect.andThen(
      child.send("go"),
      Effect.map(line, (text): unknown => JSON.parse(text))
    )
  }
})

layer(portalWorldLayer({ resources }), { timeout: 60_000, excludeTestServices: true })(
  "a portal's gateway without DNS",
  (it) => {
    it.effect("accepts names, says unreachable at once, and heals within 2 s of DNS being back", () =>
      Effect.gen(function* () {
        const lab = yield* Lab
        const { proxyOf, status, visitor } = yield* PortalWorld
        yield* blackHoleDns(true)
        const capture = yield* lab.capture("client")
        const askedAt = yield* Clock.currentTimeMillis

        // Answered when the gateway says Active: within 2 s, whatever DNS does.
        const proxy = yield* proxyOf("silent.corp.internal")
        const acceptedAfter = (yield* Clock.currentTimeMillis) - askedAt
        // The first packets wait for the lookup, for 2 s at most; those after them are answered at once.
        const first = yield* visitor.connect({ address: proxy, timeout: 2_500 })
        const toldAfter = (yield* Clock.currentTimeMillis) - askedAt
        const failed = yield* visitor.connect({ address: proxy, port: 8080, timeout: 4_000 })
        const syn = yield* capture.first(isSyn(proxy, 8080), { timeout: "20 seconds" })
        const answer =
          syn === null
            ? null
            : yield* capture.first((packet) => packet.at > syn.at && isUnreachableAbout(proxy)(packet), {
                timeout: "20 seconds"
              })
        const row = (yield* status).mappings.find(({ domain }) => domain === "silent.corp.internal")
        const { nameServer } = yield* PortalWorld
        yield* nameServer.set({ name: "silent.corp.internal", a: [inner.origin.v4], aaaa: [], ttl: 30 })
        yield* blackHoleDns(false)
        const healed = yield* visitor.retry({ address: proxy, every: 100, deadline: 2_000 })

        assert.isBelow(acceptedAfter, 2_600)
        // Two seconds from the lookup's beginning in all, not two for each part of it.
        assert.isBelow(toldAfter, 3_000)
        assert.deepStrictEqual([first.ok, first.code, failed.ok], [false, "ENETUNREACH", false])
        assert(syn !== null && answer !== null)
        assert.strictEqual(unreachableAbout(answer, proxy), "3/0")
        assert.isBelow(answer.at - syn.at, 100)
        assert.include(["Resolving", "Unresolved"], row?.state)
        assert.strictEqual(healed.page?.servedBy, inner.origin.v4, JSON.stringify(healed))
        yield* assertQuiet([/does not answer/])
      })
    )

    it.effect(
      "answers 200 requests a second of both generations, each one, while no name can be looked up",
      () =>
        Effect.gen(function* () {
          yield* blackHoleDns(true)
          const fleet = yield* program("internet", "portalFleetMain", portalUrl, tokens.client, "200", "5", "200")
          const wire = yield* program("gateway", "portalWireMain", "8081")

          const counted = (yield* fleet.ask) as { readonly asked: number; readonly answered: number }
          const seen = (yield* wire.ask) as { readonly requests: number; readonly answers: ReadonlyArray<number> }
          yield* blackHoleDns(false)

          assert.deepStrictEqual(counted, { asked: 1_000, answered: 1_000 })
          assert.deepStrictEqual([seen.requests, seen.answers.length], [1_000, 1_000])
          yield* assertQuiet([/does not answer/])
        }),
      60_000
    )
  }
)
