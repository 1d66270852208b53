import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber, FileSystem, Schedule } from "effect"
import { TestClock } from "effect/testing"
import { vi } from "vitest"
import * as NameFilesLive from "../../../layers/host/NameFiles.ts"
import { NameFiles } from "../../../src/host/NameFiles.ts"
import { withLogLines } from "../../support/standalone.ts"

/** Files below /dead/, and these, are on a mount that is dead. */
const died = new Set<string>()
/** Asked for them: each holds a thread. */
const held: Array<string> = []

vi.mock(import("node:fs/promises"), async (original) => {
  const fs = await original()
  const stat = new Proxy(fs.stat, {
    apply: (real, self, [path, ...options]: Parameters<typeof fs.stat>) => {
      if (!String(path).startsWith("/dead/") && !died.has(String(path)))
        return Reflect.apply(real, self, [path, ...options])
      held.push(String(path))
      return new Promise(() => {})
    }
  })
  return { ...fs, stat }
})

const until = (what: () => boolean) =>
  Effect.suspend(() => (what() ? Effect.void : Effect.fail("not yet"))).pipe(
    Effect.retry(Schedule.spaced("50 millis")),
    Effect.timeout("20 seconds")
  )

const inDirectory = <A, E>(run: (dir: string, fs: FileSystem.FileSystem) => Effect.Effect<A, E>) =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    return yield* run(yield* fs.makeTempDirectoryScoped(), fs)
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))

describe("the files of names", () => {
  it.live("are read before the first question, and again when they change", () =>
    inDirectory((dir, fs) =>
      Effect.gen(function* () {
        const paths = { hosts: `${dir}/hosts`, block: [`${dir}/one`, `${dir}/two`] }
        yield* fs.writeFileString(paths.hosts, "10.0.0.5 nas.home\n")
        yield* fs.writeFileString(`${dir}/one`, "example.com\n")
        yield* fs.writeFileString(`${dir}/two`, "ads.example.com\nwhat is this\n")
        yield* Effect.gen(function* () {
          const files = yield* NameFiles
          assert.deepStrictEqual([files.hosts("nas.home"), files.hostOf("10.0.0.5")], [["10.0.0.5"], "nas.home"])
          assert.strictEqual(files.blocked("www.example.com"), "example.com")
          assert.strictEqual(files.blocked("x.ads.example.com"), "ads.example.com")
          assert.deepStrictEqual(yield* files.counters, { block_names: 2, block_bad_lines: 1, block_left_out: 0 })

          yield* fs.writeFileString(paths.hosts, "10.0.0.66 nas.home\n")
          yield* fs.writeFileString(`${dir}/one`, "example.net\n")
          yield* until(() => files.hosts("nas.home")?.[0] === "10.0.0.66" && files.blocked("example.net") !== undefined)
          assert.deepStrictEqual([files.hostOf("10.0.0.5"), files.hostOf("10.0.0.66")], [undefined, "nas.home"])
          assert.isUndefined(files.blocked("www.example.com"))
        }).pipe(Effect.provide(NameFilesLive.layer(paths)))
      })
    )
  )

  it.live("that cannot be read are told once; what was known counts until they can", () =>
    inDirectory((dir, fs) =>
      withLogLines((lines) =>
        Effect.gen(function* () {
          const files = yield* NameFiles
          assert.isUndefined(files.blocked("example.com"))
          const told = () => lines.filter((line) => line.includes("cannot be read"))
          assert.lengthOf(told(), 1)
          assert.include(told()[0], "(ENOENT): nothing is blocked by it; check block: in the file")

          yield* fs.writeFileString(`${dir}/late`, "example.com\nx y\n")
          yield* until(() => files.blocked("example.com") !== undefined)
          assert.isTrue(lines.some((line) => line.includes("1 of its lines make no sense, the first is line 2")))

          yield* fs.remove(`${dir}/late`)
          yield* until(() => told().length === 2)
          assert.include(told()[1], "what it said before counts")
          assert.strictEqual(files.blocked("example.com"), "example.com")
        }).pipe(Effect.provide(NameFilesLive.layer({ hosts: `${dir}/none`, block: [`${dir}/late`] })))
      )
    )
  )

  it.effect(
    "hold the start up for 3 s at most on a mount that is dead, and nobody later: it is told, and costs one thread until they are taken out",
    () =>
      inDirectory((dir, fs) =>
        withLogLines((lines) =>
          Effect.gen(function* () {
            const dead = ["/dead/one", "/dead/two"]
            yield* fs.writeFileString(`${dir}/first`, "example.org\n")
            yield* fs.writeFileString(`${dir}/last`, "example.com\n")
            const begun = yield* Clock.currentTimeMillis
            const start = yield* Effect.forkChild(
              Effect.gen(function* () {
                const files = yield* NameFiles
                assert.isAtMost((yield* Clock.currentTimeMillis) - begun, 4_000)
                while (files.blocked("example.org") === undefined) yield* Effect.sleep("1 second")
                const lists = [...dead, `${dir}/last`]
                files.setLists(lists)
                assert.isUndefined(files.blocked("example.org"))
                // Reloads that change nothing here do not make it begin anew.
                for (let i = 0; i < 12; i++) {
                  yield* Effect.sleep("10 seconds")
                  files.setLists(lists)
                }
                assert.isUndefined(files.blocked("example.com"))
                files.setLists([`${dir}/last`])
                while (files.blocked("example.com") === undefined) yield* Effect.sleep("1 second")
              }).pipe(Effect.provide(NameFilesLive.layer({ hosts: `${dir}/none`, block: [`${dir}/first`, ...dead] })))
            )
            // Files are read in real time.
            while (start.pollUnsafe() === undefined)
              yield* Effect.andThen(TestClock.withLive(Effect.sleep(5)), TestClock.adjust("1 second"))
            yield* Fiber.join(start)

            const told = lines.filter((line) => line.includes("cannot be read"))
            assert.lengthOf(told, 1)
            assert.include(
              told[0],
              "/dead/one cannot be read (no answer within 30 seconds; those after it are not read"
            )
            assert.deepStrictEqual(held, ["/dead/one"])
          })
        )
      )
  )

  it.effect(
    "say with other lists what is in memory; what is dead of them costs one thread, however often it is asked",
    () =>
      inDirectory((dir, fs) =>
        Effect.gen(function* () {
          held.splice(0)
          const [kept, last] = [`${dir}/kept`, `${dir}/last`]
          yield* fs.writeFileString(kept, "example.org\n")
          yield* fs.writeFileString(last, "example.com\n")
          const asking = yield* Effect.forkChild(
            Effect.gen(function* () {
              const files = yield* NameFiles
              assert.strictEqual((yield* files.withLists([last])).blocked("example.com"), "example.com")
              assert.isUndefined(files.blocked("example.com"))
              died.add(kept)
              yield* Effect.sleep("1 minute")
              const since = yield* Clock.currentTimeMillis
              for (let i = 0; i < 3; i++) {
                const { blocked } = yield* files.withLists([kept, "/dead/new", last])
                assert.deepStrictEqual(["example.org", "example.com"].map(blocked), ["example.org", undefined])
              }
              assert.isBelow((yield* Clock.currentTimeMillis) - since, 30_000)
              assert.deepStrictEqual(held, [kept])

              for (let i = 0; i < 3; i++) yield* files.withLists(["/dead/new", "/dead/other", last])
              files.setLists(["/dead/new"])
              yield* Effect.sleep("1 minute")
              files.setLists([kept])
              yield* Effect.sleep("1 minute")
              assert.deepStrictEqual(held, [kept, "/dead/new"])
            }).pipe(Effect.provide(NameFilesLive.layer({ hosts: `${dir}/none`, block: [kept] })))
          )
          // Files are read in real time.
          while (asking.pollUnsafe() === undefined)
            yield* Effect.andThen(TestClock.withLive(Effect.sleep(5)), TestClock.adjust("1 second"))
          yield* Fiber.join(asking)
        })
      )
  )

  it.live("of many names are taken in while other things go on", () =>
    inDirectory((dir, fs) =>
      Effect.gen(function* () {
        const names = Array.from({ length: 200_000 }, (_, i) => `0.0.0.0 n${i}.example.com`).join("\n")
        yield* fs.writeFileString(`${dir}/list`, names)
        let turns = 0
        yield* Effect.forkScoped(
          Effect.forever(
            Effect.andThen(
              Effect.sync(() => turns++),
              Effect.sleep(0)
            )
          )
        )
        yield* Effect.gen(function* () {
          const files = yield* NameFiles
          yield* until(() => files.blocked("n199999.example.com") === "n199999.example.com")
        }).pipe(Effect.provide(NameFilesLive.layer({ hosts: `${dir}/none`, block: [`${dir}/list`] })))
        // Between any two pieces of 64 KiB.
        assert.isAtLeast(turns, 20)
      }).pipe(Effect.scoped)
    )
  )
})
