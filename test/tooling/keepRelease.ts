/** Keeps what this version writes, for the versions to come: `node test/tooling/keepRelease.ts`, before each release. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Effect } from "effect"
import { version } from "../../layers/host/version.ts"
import type { StateStore } from "../../src/host/StateStore.ts"
import { contentsOf, dump, releasesDirectory } from "../support/releases.ts"
import { stateLife as life } from "../support/stateLife.ts"

const mapping = (client: string, slot: number, domain: string) =>
  ({ client, resource: "wiki", domain, slot, lastUsedAt: 1_796_000_000_000.25 }) as const

/** Something of everything. */
const fill = Effect.fnUntraced(function* (store: StateStore["Service"]) {
  const { privateKey } = yield* store.keys
  yield* store.putKeys({
    privateKey,
    ending: { privateKey: Buffer.alloc(32, 7).toString("base64"), endsAt: 2_000_000_000_000, leftMs: 86_400_000 }
  })
  yield* store.putSite({
    id: "a gateway of a site",
    spans: [
      { from: 1, to: 4_096 },
      { from: 8_192, to: 8_448 }
    ]
  })
  const first = yield* store.reserveSlots("alice", 64)
  yield* store.reserveSlots("bob", 3)
  yield* store.putClients([
    {
      client: "alice",
      publicKey: Buffer.alloc(32, 1).toString("base64"),
      endpoint: { address: "2001:db8::7", port: 51_820 },
      local: "192.0.2.1",
      lastTai64n: "400000006543210000000000",
      sentTick: 107_000_000_000,
      gatewayKey: Buffer.alloc(32, 2).toString("base64"),
      lastSeenAt: 1_796_000_000_000.5
    },
    {
      client: "bob",
      publicKey: null,
      endpoint: null,
      local: null,
      lastTai64n: null,
      sentTick: 0,
      gatewayKey: null,
      lastSeenAt: 0
    }
  ])
  yield* store.putMapping(mapping("alice", first, "wiki.corp.internal"))
  yield* store.putMapping(mapping("alice", first + 1, "wiki.corp.internal"))
  yield* store.putMapping(mapping("alice", first + 2, "it's gone.corp.internal"))
  yield* store.putMapping(mapping("bob", 2, "b\u00fccher.corp.internal"))
  yield* store.removeMapping(mapping("alice", first + 2, "it's gone.corp.internal"), 1_796_000_000_000)
})

const keep = Effect.acquireUseRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "sallyport-release-"))),
  Effect.fnUntraced(function* (directory) {
    const path = join(directory, "state.db")
    yield* life(path, fill)
    const state = dump(path)
    const contents = yield* life(path, contentsOf)
    const into = join(releasesDirectory, version)
    mkdirSync(into, { recursive: true })
    writeFileSync(join(into, "state.sql"), state)
    writeFileSync(join(into, "state.json"), `${JSON.stringify(contents, null, 2)}\n`)
  }),
  (directory) => Effect.sync(() => rmSync(directory, { recursive: true, force: true }))
)

await Effect.runPromise(keep)
