/** What a resolv.conf that changes, or says how to ask, does to the questions. */
import * as fs from "node:fs/promises"
import * as os from "node:os"
import * as path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { makeResolverSets } from "../../../layers/dns/resolverSets.ts"

const folder = Effect.acquireRelease(
  Effect.promise(() => fs.mkdtemp(path.join(os.tmpdir(), "sallyport-resolv-"))),
  (made) => Effect.promise(() => fs.rm(made, { recursive: true }))
)

/** The addresses of the set `system`, as often as it is run. */
const asked = (file: string) =>
  Effect.map(makeResolverSets({}, file, 1_000).planOf("system"), ({ servers }) => servers.map(({ address }) => address))

const write = (file: string, text: string) => Effect.promise(() => fs.writeFile(file, text))

describe("resolv.conf while it is in use", () => {
  it.live("is followed when it is written, replaced, led elsewhere, removed and there again", () =>
    Effect.gen(function* () {
      const at = yield* folder
      const [file, next, stub] = ["resolv.conf", "next", "stub"].map((name) => path.join(at, name)) as [
        string,
        string,
        string
      ]
      const { planOf: sets } = makeResolverSets({}, file, 1_000)
      const servers = Effect.map(sets("system"), (plan) => plan.servers.map(({ address }) => address))
      yield* write(file, "nameserver 10.0.0.1\n")
      assert.deepStrictEqual(yield* servers, ["10.0.0.1"])
      yield* write(file, "nameserver 10.0.0.2\n")
      assert.deepStrictEqual(yield* servers, ["10.0.0.2"])
      yield* write(next, "nameserver 10.0.0.3\n")
      yield* Effect.promise(() => fs.rename(next, file))
      assert.deepStrictEqual(yield* servers, ["10.0.0.3"])
      yield* write(stub, "nameserver 127.0.0.53\noptions edns0 trust-ad\n")
      yield* Effect.promise(() => fs.rm(file))
      yield* Effect.promise(() => fs.symlink(stub, file))
      assert.deepStrictEqual(yield* servers, ["127.0.0.53"])
      yield* write(stub, "nameserver 127.0.0.54\n")
      assert.deepStrictEqual(yield* servers, ["127.0.0.54"])
      yield* Effect.promise(() => fs.rm(file))
      assert.deepStrictEqual(yield* servers, ["127.0.0.1"])
      yield* write(file, "nameserver 10.0.0.4\n")
      assert.deepStrictEqual(yield* servers, ["10.0.0.4"])
    })
  )

  it.live("that is empty for a moment, being written, is waited for", () =>
    Effect.gen(function* () {
      const file = path.join(yield* folder, "resolv.conf")
      yield* write(file, "")
      const servers = yield* Effect.forkChild(asked(file), { startImmediately: true })
      yield* Effect.sleep(60)
      yield* write(file, "nameserver 10.0.0.1\n")
      assert.deepStrictEqual(yield* Fiber.join(servers), ["10.0.0.1"])
    })
  )

  it.live("that stays without a server is waited for once", () =>
    Effect.gen(function* () {
      const file = path.join(yield* folder, "resolv.conf")
      yield* write(file, "search corp.internal\n")
      const { planOf: sets } = makeResolverSets({}, file, 1_000)
      const [first, later] = [yield* Effect.timed(sets("system")), yield* Effect.timed(sets("system"))]
      assert.deepStrictEqual(
        [first, later].map(([, plan]) => plan.servers.map(({ address }) => address)),
        [["127.0.0.1"], ["127.0.0.1"]]
      )
      assert.match(later[1].note ?? "", /names no server$/)
    })
  )
})

describe("options of resolv.conf", () => {
  const planOf = (text: string) =>
    Effect.gen(function* () {
      const file = path.join(yield* folder, "resolv.conf")
      yield* write(file, `nameserver 10.0.0.1\nnameserver 10.0.0.2\n${text}\n`)
      return makeResolverSets({}, file, 1_000).planOf("system")
    }).pipe(Effect.flatten)

  it.live("use-vc, timeout and attempts say how the servers are asked", () =>
    Effect.gen(function* () {
      const plain = yield* planOf("")
      assert.deepInclude(plain, { resendMs: 1_000, attempts: Infinity, first: 0, noAaaa: false, order: "fallback" })
      assert.deepStrictEqual(
        plain.servers.map(({ transport }) => transport),
        ["udp", "udp"]
      )
      const told = yield* planOf("options use-vc timeout:3 attempts:2 no-aaaa")
      assert.deepInclude(told, { resendMs: 3_000, attempts: 2, noAaaa: true })
      assert.deepStrictEqual(
        told.servers.map(({ transport }) => transport),
        ["tcp", "tcp"]
      )
    })
  )

  it.live("rotate begins with another server each time", () =>
    Effect.gen(function* () {
      const file = path.join(yield* folder, "resolv.conf")
      yield* write(file, "nameserver 10.0.0.1\nnameserver 10.0.0.2\noptions rotate\n")
      const { planOf: sets } = makeResolverSets({}, file, 1_000)
      const firsts = yield* Effect.forEach([1, 2, 3, 4], () => Effect.map(sets("system"), ({ first }) => first))
      assert.deepStrictEqual(firsts, [0, 1, 0, 1])
    })
  )
})
