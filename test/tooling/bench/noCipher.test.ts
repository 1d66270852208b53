import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import process from "node:process"

const url = (path: string): string => new URL(`../../../${path}`, import.meta.url).href

/** Says whether a sealed packet can still be read. */
const sealing = `
  import { makeMemory } from "${url("layers/dataplane/native/memory.ts")}"
  import { makePrimitives } from "${url("layers/dataplane/native/primitives.ts")}"
  const memory = makeMemory(1)
  const { bytes } = memory.arena
  const plain = memory.arena.reserve(64)
  const sealed = memory.arena.reserve(128)
  bytes.fill(7, plain, plain + 64)
  makePrimitives(memory).primitives.aead(new Uint8Array(32)).seal(0, plain, 64, sealed)
  console.log(bytes.subarray(sealed, sealed + 64).every((byte) => byte === 7))
`

/** What it says in a thread, which is where the gateway seals, under these options of Node. */
const inWorker = (options: string): string => {
  const worker = `new worker_threads.Worker(new URL("data:text/javascript,${encodeURIComponent(sealing)}"))`
  const env = { ...process.env, NODE_OPTIONS: options }
  return spawnSync(process.execPath, ["-e", worker], { env, encoding: "utf8", timeout: 15_000 }).stdout.trim()
}

describe("the bench's pair without cipher", () => {
  it("copies packets that others seal", () => {
    assert.strictEqual(inWorker(""), "false")
    assert.strictEqual(inWorker(`--import=${url("test/bench/support/noCipher.ts")}`), "true")
  })
})
