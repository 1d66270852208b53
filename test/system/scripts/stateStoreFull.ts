/** Fills the file system of the state file (argument) and prints what the live `StateStore` says and keeps. */
import * as fs from "node:fs"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import * as Live from "../../../layers/host/StateStore.ts"
import { StateStore } from "../../../src/host/StateStore.ts"

const directory = process.argv[2]!
const filler = join(directory, "filler")

const mapping = (slot: number) => ({
  client: "alice",
  resource: "gitlab",
  domain: `${slot}.example`,
  slot,
  lastUsedAt: 1
})

const fill = (): void => {
  const fd = fs.openSync(filler, "w")
  try {
    for (;;) fs.writeSync(fd, Buffer.alloc(4096))
  } catch {
    fs.closeSync(fd)
  }
}

const result = await Effect.runPromise(
  Effect.gen(function* () {
    const store = yield* StateStore
    const { privateKey: before } = yield* store.keys
    yield* store.putMapping(mapping(0))
    fill()
    // What the write-ahead log has room for still goes in.
    let stored = 1
    const message = yield* Effect.suspend(() => store.putMapping(mapping(stored))).pipe(
      Effect.tap(() => Effect.sync(() => void stored++)),
      Effect.forever,
      Effect.catch((error) => Effect.succeed(error.message))
    )
    const kept = (yield* store.mappings).length
    const keyKept = (yield* store.keys).privateKey === before
    fs.rmSync(filler)
    yield* store.putMapping(mapping(stored))
    return { message, stored, kept, keyKept, afterwards: (yield* store.mappings).length }
  }).pipe(Effect.provide(Live.layer(join(directory, "state.db"))))
)
process.stdout.write(JSON.stringify(result))
