import { spawn } from "node:child_process"
import * as fs from "node:fs/promises"
import * as os from "node:os"
import * as path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { recordType } from "../../src/dns/registry.ts"
import { Upstream } from "../../src/dns/Upstream.ts"
import * as UpstreamLive from "../../layers/dns/Upstream.ts"

const script = path.join(import.meta.dirname, "../support/dnsServerMain.ts")

describe("the scripted DNS server as a process", () => {
  it.live(
    "answers from its zone file, follows the file's changes and prints each query",
    () =>
      Effect.gen(function* () {
        const folder = yield* Effect.acquireRelease(
          Effect.promise(() => fs.mkdtemp(path.join(os.tmpdir(), "sallyport-zone-"))),
          (folder) => Effect.promise(() => fs.rm(folder, { recursive: true }))
        )
        const zone = path.join(folder, "zone.json")
        const write = (value: unknown) => Effect.promise(() => fs.writeFile(zone, JSON.stringify(value)))
        yield* write({ "app.test": { A: ["10.0.0.2"], AAAA: [], ttl: 5 } })
        const child = yield* Effect.acquireRelease(
          Effect.sync(() => spawn(process.execPath, [script, "--listen", "127.0.0.1:0", "--zone", zone])),
          (child) => Effect.sync(() => child.kill("SIGTERM"))
        )
        let output = ""
        child.stdout.on("data", (text: Buffer) => {
          output += text.toString()
        })
        const printed = (pattern: RegExp) =>
          Effect.gen(function* () {
            for (let i = 0; !pattern.test(output); i++) {
              assert.isBelow(i, 1000, output)
              yield* Effect.sleep(10)
            }
            return pattern.exec(output)![1]
          })
        const port = Number(yield* printed(/^listening 127\.0\.0\.1:([0-9]+)$/m))
        const upstream = UpstreamLive.layer({
          sets: { test: { servers: [{ transport: "udp", address: "127.0.0.1", port }], order: "fallback" } }
        })
        const answers = Upstream.use((u) => u.exchange("test", { domain: "app.test", type: recordType.A })).pipe(
          Effect.map((message) => message.answers.map((r) => [r.ttl, r.data])),
          Effect.provide(upstream)
        )

        assert.deepStrictEqual(yield* answers, [[5, { _tag: "Address", address: "10.0.0.2" }]])
        yield* printed(/^query 1 1 app\.test udp$/m)
        yield* write({ "app.test": { A: ["10.0.0.3"], ttl: 6 } })
        yield* printed(/^zone$/m)
        assert.deepStrictEqual(yield* answers, [[6, { _tag: "Address", address: "10.0.0.3" }]])
      }),
    20_000
  )
})
