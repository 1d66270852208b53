/** Asking without a fiber, as the gateway does for its clients while nobody collects spans. */
import * as fs from "node:fs/promises"
import * as os from "node:os"
import * as path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import * as Schedule from "effect/Schedule"
import { describeReason } from "../../../src/cli/describeReason.ts"
import type { Outcome } from "../../../src/dns/Exchange.ts"
import { recordType } from "../../../src/dns/registry.ts"
import { Upstream } from "../../../src/dns/Upstream.ts"
import { awaitLater } from "../../../src/loops/later.ts"
import * as UpstreamLive from "../../../layers/dns/Upstream.ts"
import { type DnsTestServer, dnsServer } from "../../support/dnsServer.ts"
import { withLogLines } from "../../support/standalone.ts"

const untraced = (server: DnsTestServer, resolvConf = os.devNull) =>
  UpstreamLive.layer({
    sets: {
      corp: { servers: [{ transport: "udp", address: server.address, port: server.port }], order: "fallback" },
      empty: { servers: [], order: "fallback" }
    },
    resolvConf
  }).pipe(Layer.provide(Layer.succeed(References.TracerEnabled, false)))

const question = (domain: string, type: number = recordType.A) => ({ domain, type })

/** What of an outcome does not change from one asking to the next. */
const gist = (outcome: Outcome): unknown =>
  outcome._tag === "Answer" ? outcome.message.answers : describeReason(outcome.reason)

describe("asking DNS servers without a fiber", () => {
  it.live("comes to what asking with one comes to, resolv.conf read or known", () =>
    Effect.gen(function* () {
      const folder = yield* Effect.acquireRelease(
        Effect.promise(() => fs.mkdtemp(path.join(os.tmpdir(), "sallyport-upstream-"))),
        (made) => Effect.promise(() => fs.rm(made, { recursive: true }))
      )
      const resolvConf = path.join(folder, "resolv.conf")
      yield* Effect.promise(() => fs.writeFile(resolvConf, "nameserver 127.0.0.1\noptions no-aaaa\n"))
      const server = yield* dnsServer({ "app.test": { A: ["10.0.0.1"] }, "broken.test": { mode: "servfail" } })
      yield* Effect.gen(function* () {
        const upstream = yield* Upstream
        const asked = [
          ["corp", question("app.test"), "Answer"],
          ["corp", question("gone.test"), "Answer"],
          ["corp", question("broken.test"), "ServerFailure"],
          ["corp", question("a..test"), "NameNotFound"],
          ["empty", question("app.test"), "NoResolver"],
          ["nowhere", question("app.test"), "NoResolver"],
          ["system", question("app.test", recordType.AAAA), "Answer"],
          ["system", question("app.test", recordType.AAAA), "Answer"]
        ] as const
        for (const [set, what, tag] of asked) {
          const outcome = yield* awaitLater(upstream.ask(set, what, 5_000))
          assert.strictEqual(
            outcome._tag === "Answer" ? outcome._tag : outcome.reason._tag,
            tag,
            `${set} ${what.domain}`
          )
          const withFiber = yield* Effect.match(upstream.exchange(set, what, 5_000), {
            onFailure: ({ reason }): Outcome => ({ _tag: "Failure", reason }),
            onSuccess: (message): Outcome => ({ _tag: "Answer", message })
          })
          assert.deepStrictEqual(gist(outcome), gist(withFiber), `${set} ${what.domain}`)
        }
      }).pipe(Effect.provide(untraced(server, resolvConf)))
    })
  )

  it.live("tells who has given up nothing, be it while resolv.conf is read or while the servers are silent", () =>
    Effect.gen(function* () {
      const server = yield* dnsServer({ mode: "blackhole" })
      yield* Effect.gen(function* () {
        const upstream = yield* Upstream
        for (const set of ["system", "corp"]) {
          const told: Array<Outcome> = []
          upstream.ask(set, question("app.test"), 100)((outcome) => told.push(outcome))()
          // Ends later than that one would.
          const outcome = yield* awaitLater(upstream.ask(set, question("app.test"), 200))
          assert.strictEqual(outcome._tag, "Failure")
          assert.lengthOf(told, 0)
        }
      }).pipe(Effect.provide(untraced(server)))
    })
  )

  it.live("is counted, and a set that falls silent or answers again is told of once", () =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        const server = yield* dnsServer({ mode: "blackhole" })
        yield* Effect.gen(function* () {
          const upstream = yield* Upstream
          const ask = awaitLater(upstream.ask("corp", question("app.test"), 100))
          assert.strictEqual((yield* ask)._tag, "Failure")
          assert.strictEqual((yield* ask)._tag, "Failure")
          assert.include(yield* upstream.counters, { failures: 2, timeouts: 2, answers: 0 })
          server.setZone({ "app.test": { A: ["10.0.0.1"] } })
          // A server that was silent is not asked at once.
          yield* Effect.filterOrFail(ask, ({ _tag }) => _tag === "Answer").pipe(
            Effect.retry(Schedule.recurs(100)),
            Effect.orDie
          )
          yield* ask
          assert.lengthOf(
            lines.filter((line) => line.includes("does not answer: no answer within")),
            1
          )
          assert.lengthOf(
            lines.filter((line) => line.includes("answers again")),
            1
          )
        }).pipe(Effect.provide(untraced(server)))
      })
    )
  )
})
