import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { Worker } from "node:worker_threads"
import { Effect } from "effect"
import { addressOfFunction, makeCallLists } from "../../../../layers/dataplane/native/callList.ts"
import { makeSingleCalls } from "../../../../layers/dataplane/native/singleCalls.ts"
import { makeMemory } from "../../../../layers/dataplane/native/memory.ts"

const memory = makeMemory(1)
const { arena, base } = memory
const { bytes } = arena
const memset = addressOfFunction("memset")
const memmove = addressOfFunction("memmove")

describe.each([
  ["one crossing for all calls", makeCallLists(memory)],
  ["a crossing for each call", makeSingleCalls]
] as const)("a call list with %s", (_, callList) => {
  it("a list's calls are made in order, each with its own arguments", () => {
    const at = arena.reserve(64)
    const list = callList([
      [memset, base + at, 1, 8],
      [memmove, base + at + 16, base + at, 8],
      [memset, base + at + 4, 2, 4],
      [memmove, base + at + 32, base + at, 8]
    ])

    list.run()

    assert.deepStrictEqual(Array.from(bytes.subarray(at, at + 8)), [1, 1, 1, 1, 2, 2, 2, 2])
    assert.deepStrictEqual(Array.from(bytes.subarray(at + 16, at + 24)), [1, 1, 1, 1, 1, 1, 1, 1])
    assert.deepStrictEqual(Array.from(bytes.subarray(at + 32, at + 40)), [1, 1, 1, 1, 2, 2, 2, 2])
  })

  it("five arguments arrive whole: a key stream of RFC 8439, 2.3.2", () => {
    const at = arena.reserve(256)
    for (let i = 0; i < 32; i++) bytes[at + i] = i
    bytes.set([1, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0x4a, 0, 0, 0, 0], at + 32)
    const list = callList([
      [addressOfFunction("ChaCha20_ctr32"), base + at + 128, base + at + 64, 64, base + at, base + at + 32]
    ])

    list.run()

    assert.strictEqual(
      Buffer.from(bytes.subarray(at + 128, at + 192)).toString("hex"),
      "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4ed2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e"
    )
  })

  it("an argument is changed between two runs, in its own list only", () => {
    const at = arena.reserve(64)
    const one = callList([[memset, base + at, 3, 1]])
    const two = callList([[memset, base + at + 1, 4, 1]])

    one.set(0, 1, 7)
    two.set(0, 0, base + at + 2)
    one.run()
    two.run()
    one.set(0, 0, base + at + 3)
    one.run()

    assert.deepStrictEqual(Array.from(bytes.subarray(at, at + 4)), [7, 0, 4, 7])
  })
})

it.live("threads that made lists leave nothing behind", () =>
  Effect.gen(function* () {
    const callLists = new URL("../../../../layers/dataplane/native/callList.ts", import.meta.url).href
    const memories = new URL("../../../../layers/dataplane/native/memory.ts", import.meta.url).href
    const program = `
      Promise.all([import("${callLists}"), import("${memories}")]).then(([{ makeCallLists }, { makeMemory }]) => {
        makeCallLists(makeMemory(1))
        require("node:worker_threads").parentPort.postMessage(require("node:fs").readFileSync("/proc/self/maps", "utf8"))
      })`
    const runThread = Effect.callback<string, Error>((resume) => {
      const worker = new Worker(program, { eval: true })
      let maps = ""
      worker.on("message", (text: string) => (maps = text))
      worker.on("error", (error: Error) => resume(Effect.fail(error)))
      worker.on("exit", () => resume(Effect.succeed(maps)))
    })

    const before = codePages(readFileSync("/proc/self/maps", "utf8"))
    const during = codePages(yield* runThread)
    yield* runThread
    yield* runThread
    const after = codePages(readFileSync("/proc/self/maps", "utf8"))

    assert.strictEqual(during, before + 1)
    assert.strictEqual(after, before)
  })
)

it("a function that the process does not export is told by name", () => {
  assert.throws(() => addressOfFunction("no_such_function"), "no_such_function")
})

/** Single pages of code that belong to no file. */
const codePages = (maps: string): number =>
  Array.from(maps.matchAll(/^([0-9a-f]+)-([0-9a-f]+) r-xp 00000000 00:00 0 *$/gm)).filter(
    ([, from, to]) => parseInt(to!, 16) - parseInt(from!, 16) === 4_096
  ).length
