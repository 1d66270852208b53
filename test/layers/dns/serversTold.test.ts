/** What a question to servers says of them: in the log, in counts, in whole answers. */
import * as path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { TestClock } from "effect/testing"
import { recordType } from "../../../src/dns/registry.ts"
import { Upstream } from "../../../src/dns/Upstream.ts"
import * as UpstreamLive from "../../../layers/dns/Upstream.ts"
import { dnsServer } from "../../support/dnsServer.ts"
import { layer as setProbe } from "../../../layers/dns/setProbe.ts"
import { SetProbe } from "../../../src/resolution/SetProbe.ts"
import { withLogLines } from "../../support/standalone.ts"
import { overUdp, using, deadServer, temporaryFolder, write } from "../../support/liveResolver.ts"

describe("Upstream, its log", () => {
  it.live("has no line for a name that never answers beside others that do, and two for servers that fall silent", () =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        const server = yield* dnsServer({ "dead.test": { mode: "blackhole" }, "*": { A: ["10.0.0.1"] } })
        yield* Effect.gen(function* () {
          const upstream = yield* Upstream
          const ask = (name: string) => Effect.exit(upstream.exchange("corp", { domain: name, type: recordType.A }))
          for (let n = 0; n < 5; n++) {
            yield* Effect.all([ask("dead.test"), ask("app.test")], { concurrency: "unbounded" })
          }
          assert.deepStrictEqual(lines, [])

          server.setZone({ "*": { mode: "blackhole" } })
          yield* Effect.all([ask("app.test"), ask("git.test")], { concurrency: "unbounded" })
          server.setZone({ "*": { A: ["10.0.0.1"] } })
          yield* ask("app.test")
          assert.strictEqual(lines.length, 2)
        }).pipe(using([server], { resendMs: 50, totalMs: 200 }))
      })
    )
  )
})

describe("Upstream, servers out of reach", () => {
  it.live("are told once, and cost nothing while another one answers", () =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        const server = yield* dnsServer({ "*": { A: ["10.0.0.1"] } })
        yield* Effect.gen(function* () {
          const upstream = yield* Upstream
          const began = performance.now()
          for (let n = 0; n < 4; n++) yield* upstream.exchange("corp", { domain: "app.test", type: recordType.A })
          // Less than one turn of asking again.
          assert.isBelow(performance.now() - began, 1_000)
          assert.strictEqual(lines.length, 1)
          assert.match(lines[0]!, /the DNS server 127\.0\.0\.1:9 is of no use \(.*\): the others of corp are asked/)
        }).pipe(using([{ address: "127.0.0.1", port: 9 }, server]))
      })
    )
  )
})

describe("the harmless question whether a resolver set lives", () => {
  it.live("is answered by whatever comes back, and not by silence or where nobody listens", () =>
    Effect.gen(function* () {
      const server = yield* dnsServer({ mode: "refused" })
      const lives = Effect.flatMap(SetProbe, (probe) => probe("corp")).pipe(Effect.provide(setProbe))
      yield* Effect.gen(function* () {
        assert.isTrue(yield* lives)
        server.setZone({ mode: "nxdomain" })
        assert.isTrue(yield* lives)
        server.setZone({ mode: "blackhole" })
        assert.isFalse(yield* lives)
        // Never the root: hosts ban who asks for it.
        assert.deepStrictEqual([...new Set(server.queries.map(({ name }) => name))], ["probe.invalid"])
      }).pipe(using([server], { resendMs: 50, totalMs: 200 }))
      assert.isFalse(yield* lives.pipe(using([yield* deadServer])))
    })
  )
})

describe("Upstream", () => {
  it.effect("says when the servers of resolv.conf are others, and not for a change of anything else", () =>
    Effect.gen(function* () {
      const resolvConf = path.join(yield* temporaryFolder, "resolv.conf")
      const upstream = yield* Upstream.pipe(
        Effect.provide(UpstreamLive.layer({ sets: { corp: overUdp([]) }, resolvConf }))
      )
      const after = Effect.fnUntraced(function* (text: string) {
        yield* write(resolvConf, text)
        yield* TestClock.adjust("1 second")
        return yield* upstream.epoch("system")
      })
      const first = yield* after("nameserver 127.77.1.1\n")
      assert.strictEqual(yield* after("nameserver 127.77.1.1\nsearch a.test\n"), first)
      assert.strictEqual(yield* after(""), first)
      assert.notStrictEqual(yield* after("nameserver 127.77.1.2\n"), first)
      assert.strictEqual(yield* upstream.epoch("corp"), 0)
    })
  )

  it.live("hands over the whole answer of any type, and counts", () =>
    Effect.gen(function* () {
      const server = yield* dnsServer({ "app.test": { TXT: "hello" }, "dark.test": { mode: "blackhole" } })
      yield* Effect.gen(function* () {
        const upstream = yield* Upstream

        const message = yield* upstream.exchange("corp", { domain: "app.test", type: recordType.TXT })

        assert.deepStrictEqual(message.answers[0]?.data, {
          _tag: "Raw",
          bytes: Uint8Array.from(Buffer.from("\u0005hello"))
        })
        const late = yield* upstream
          .exchange("corp", { domain: "dark.test", type: recordType.TXT }, 300)
          .pipe(Effect.flip)
        assert.strictEqual(late.reason._tag, "Timeout")
        // The last three grow with how often the silence is tried to be broken.
        const { queries, resends, tcp_queries, stream_connections, without_edns, ...others } = yield* upstream.counters
        assert.isTrue([tcp_queries, stream_connections, without_edns].every((n) => n! <= resends!))
        assert.isAtLeast(resends!, 1)
        assert.strictEqual(queries! - resends!, 2)
        assert.deepStrictEqual(others, {
          answers: 1,
          failures: 1,
          timeouts: 1,
          ignored: 0,
          case_changed: 0,
          truncated_used: 0,
          probes: 0,
          stream_reconnects: 0,
          stream_full: 0
        })
      }).pipe(using([server], { resendMs: 50 }))
    })
  )

  it.live("an answer is not waited for longer than the caller says", () =>
    Effect.gen(function* () {
      const server = yield* dnsServer({ mode: "blackhole" })
      const ended = yield* Upstream.use((u) => u.exchange("corp", { domain: "a.test", type: 1 }, 50)).pipe(
        Effect.flip,
        using([server]),
        Effect.timeoutOption(2000)
      )
      assert.isTrue(Option.isSome(ended))
    })
  )
})
