/** Real files, since what is told apart is how they are written. */
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as FileSystem from "effect/FileSystem"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { fileChanges, followFile, readFollowed } from "../../src/config/fileChanges.ts"

const inDirectory = <A, E>(use: (directory: string) => Effect.Effect<A, E, FileSystem.FileSystem>) =>
  Effect.acquireUseRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "changes-"))),
    use,
    (directory) => Effect.sync(() => rmSync(directory, { recursive: true }))
  ).pipe(Effect.provide(NodeServices.layer))

/** How often each change is told. */
const told = (path: string, changes: ReadonlyArray<() => void>) =>
  Effect.gen(function* () {
    let count = 0
    const followed = fileChanges(yield* followFile(path), () => true)
    const reader = yield* Effect.forkChild(Stream.runForEach(followed, () => Effect.sync(() => void count++)))
    const counts: Array<number> = []
    for (const change of changes) {
      const before = count
      change()
      // Two looks, and twice that for who is late.
      yield* Effect.repeat(
        Effect.delay(
          Effect.sync(() => count > before),
          "50 millis"
        ),
        { until: (isTold) => isTold, times: 400 }
      )
      counts.push(count - before)
    }
    yield* Effect.sleep("1500 millis")
    yield* Fiber.interrupt(reader)
    return { counts, inAll: count }
  })

describe("a file that is followed", () => {
  it.live("is told of once per change: written in place, twice at once, by a rename, and when it is gone", () =>
    inDirectory((directory) =>
      Effect.gen(function* () {
        const path = join(directory, "sallyport.yaml")
        writeFileSync(path, "one")
        const seen = yield* told(path, [
          () => writeFileSync(path, "second"),
          () => {
            writeFileSync(path, "")
            writeFileSync(path, "three")
          },
          () => {
            writeFileSync(`${path}.new`, "six")
            renameSync(`${path}.new`, path)
          },
          () => unlinkSync(path),
          () => writeFileSync(path, "back")
        ])

        assert.deepStrictEqual(seen, { counts: [1, 1, 1, 1, 1], inAll: 5 })
      })
    )
  )

  it.live("is told of where a link on its way leads elsewhere, as in a mounted ConfigMap", () =>
    inDirectory((directory) =>
      Effect.gen(function* () {
        for (const [version, text] of [
          ["..v1", "one"],
          ["..v2", "two"]
        ] as const) {
          mkdirSync(join(directory, version))
          writeFileSync(join(directory, version, "sallyport.yaml"), text)
        }
        symlinkSync("..v1", join(directory, "..data"))
        symlinkSync("..data/sallyport.yaml", join(directory, "sallyport.yaml"))
        const seen = yield* told(join(directory, "sallyport.yaml"), [
          () => {
            symlinkSync("..v2", join(directory, "..tmp"))
            renameSync(join(directory, "..tmp"), join(directory, "..data"))
          }
        ])

        assert.deepStrictEqual(seen, { counts: [1], inAll: 1 })
      })
    )
  )

  it.effect("is not told of where it was read since, whoever asked for that; what came after the reading is", () =>
    Effect.gen(function* () {
      let [now, count] = ["one", 0]
      const file = { path: "", version: Effect.sync(() => now), known: "one" }
      const changes = fileChanges(file, () => true)
      yield* Effect.forkChild(Stream.runForEach(changes, () => Effect.sync(() => void count++)))

      now = "two"
      yield* readFollowed(file, Effect.void)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(count, 0)
      yield* readFollowed(
        file,
        Effect.sync(() => void (now = "three"))
      )
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(count, 1)
      now = "one"
      yield* readFollowed(file, Effect.void)
      now = "three"
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(count, 2)
    })
  )

  it.effect("is not looked at while nobody wants to know, and told of once where it has changed meanwhile", () =>
    Effect.gen(function* () {
      let [looks, count, wanted, now] = [0, 0, false, "one"]
      const version = Effect.sync(() => {
        looks++
        return now
      })
      const changes = fileChanges({ version, known: "one" }, () => wanted)
      yield* Effect.forkChild(Stream.runForEach(changes, () => Effect.sync(() => void count++)))

      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual([looks, count], [0, 0])
      wanted = true
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(count, 0, "it is as it was read")
      wanted = false
      now = "two"
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(count, 0)
      wanted = true
      yield* TestClock.adjust("7 seconds")
      assert.strictEqual(count, 1)
    })
  )
})
