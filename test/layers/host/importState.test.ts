import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Result } from "effect"
import { TestClock } from "effect/testing"
import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { importState } from "../../../layers/host/importState.ts"
import { publicKeyOf } from "../../../layers/host/keyText.ts"
import { backupState } from "../../../layers/host/stateBackup.ts"
import { parseConfig } from "../../../src/config/parseConfig.ts"
import type { StoredMapping } from "../../../src/host/StateStore.ts"
import { stateLifeIn as life } from "../../support/stateLife.ts"
import { key } from "../../config/fixtures.ts"

const mapping = (slot: number, domain = `n${slot}.example`): StoredMapping => ({
  client: "alice",
  resource: "corp",
  domain,
  slot,
  lastUsedAt: 1_700_000_000_000
})

const configOf = (stateDir: string, more = "") =>
  Result.getOrThrow(
    parseConfig(
      `endpoint: vpn.example.com:51820
state_dir: ${stateDir}
clients: { alice: { public_key: "${key(1)}" } }
${more}`,
      "sallyport.yaml"
    )
  )

const keys = { privateKey: Buffer.alloc(32, 7).toString("base64"), ending: null }

/** Two gateways with one key, each alone; `file` is a backup of the other one, which has given two names. */
const twoGateways = Effect.gen(function* () {
  const path = yield* Effect.acquireRelease(
    Effect.sync(() => fs.mkdtempSync(join(tmpdir(), "sallyport-import-"))),
    (made) => Effect.sync(() => fs.rmSync(made, { recursive: true }))
  )
  const [here, there, file] = [join(path, "here"), join(path, "there"), join(path, "copy")]
  yield* life(here, (store) => Effect.all([store.putKeys(keys), store.reserveSlots("alice", 8)]))
  yield* life(there, (store) =>
    Effect.all([
      store.putKeys(keys),
      store.reserveSlots("alice", 16),
      store.putMapping(mapping(1)),
      store.putMapping(mapping(9))
    ])
  )
  const backup = backupState(there, file, { overwrite: true })
  yield* backup
  const take = ({ dryRun = false, more = "", other = "" } = {}) =>
    Effect.scoped(importState(configOf(here, more), configOf(there, other), file, { dryRun }))
  return { here, there, file, backup, take, names: life(here, (store) => store.mappings) }
})

describe("import", () => {
  it.effect("has names of a gateway that was alone with their slots, and gives none of these again", () =>
    Effect.gen(function* () {
      const { here, names, take } = yield* twoGateways

      const { left, taken } = yield* take()

      assert.deepStrictEqual([taken.length, left], [2, []])
      assert.deepStrictEqual(yield* names, [mapping(1), mapping(9)])
      assert.strictEqual(yield* life(here, (store) => store.reserveSlots("alice", 1)), 16)
    })
  )

  it.effect("changes nothing the second time, nor with --dry-run", () =>
    Effect.gen(function* () {
      const { here, names, take } = yield* twoGateways
      const tried = yield* take({ dryRun: true })
      assert.deepStrictEqual([tried.taken.length, yield* names], [2, []])
      yield* take()
      const before = fs.readFileSync(join(here, "state.db"))

      const again = yield* take()

      assert.deepStrictEqual([again.taken, again.there, again.left], [[], 2, []])
      assert.deepStrictEqual(fs.readFileSync(join(here, "state.db")), before)
      assert.deepStrictEqual(fs.readdirSync(here).toSorted(), ["lock", "state.db"])
    })
  )

  it.effect("leaves nothing of root's where the state is another user's", () =>
    Effect.gen(function* () {
      const { here, take } = yield* twoGateways
      // Who is not root is one.
      const uid = process.getuid!() === 0 ? 54_321 : process.getuid!()
      for (const name of [".", "state.db"]) fs.chownSync(join(here, name), uid, -1)
      fs.rmSync(join(here, "lock"))

      yield* take()

      const owners = fs.readdirSync(here).map((name) => [name, fs.statSync(join(here, name)).uid])
      assert.deepStrictEqual(owners, [
        ["lock", uid],
        ["state.db", uid]
      ])
    })
  )

  it.effect("takes of a gateway of a site what is that one's own there, and names the rest", () =>
    Effect.gen(function* () {
      const { here, names, take } = yield* twoGateways
      yield* life(here, (store) => store.putSite({ id: "a", spans: [{ from: 8, to: 12 }] }))

      const { left } = yield* take()

      assert.deepStrictEqual(yield* names, [mapping(9)])
      assert.deepStrictEqual(
        left.map(({ mapping: { domain }, why }) => [domain, why]),
        [["n1.example", "its address is not this gateway's to give in the site"]]
      )
    })
  )

  it.effect("takes nothing at a client that has been here, but what was never set aside for it", () =>
    Effect.gen(function* () {
      const { here, names, take } = yield* twoGateways
      yield* life(here, (store) => store.putMapping(mapping(2, "own.example")))

      const { left } = yield* take()

      assert.deepStrictEqual(yield* names, [mapping(2, "own.example"), mapping(9)])
      assert.deepStrictEqual(left[0]?.why, "its address may have stood for another name here")
    })
  )

  it.effect("refuses another key, other ranges, a gateway of a site, and one that runs, and takes nothing then", () =>
    Effect.gen(function* () {
      const { backup, here, names, take, there } = yield* twoGateways
      const refusal = (options: Parameters<typeof take>[0] = {}) => Effect.map(Effect.flip(take(options)), String)

      assert.match(
        yield* refusal({ other: "network: { proxy_ipv4: 100.112.0.0/12 }" }),
        /nothing is taken over: its proxy addresses are of 100\.112\.0\.0\/12, and those of this gateway of 100\.96\.0\.0\/11 — there/
      )
      const running = yield* life(here, () =>
        Effect.gen(function* () {
          const waiting = yield* Effect.forkChild(refusal())
          yield* TestClock.adjust("3 seconds")
          return yield* Fiber.join(waiting)
        })
      )
      assert.match(running, /nothing is taken over while a gateway runs: /)
      yield* life(there, (store) => store.putSite({ id: "b", spans: [{ from: 0, to: 8 }] }))
      yield* backup
      assert.match(yield* refusal(), /copy is of a gateway of a site — its names are in that site's PostgreSQL/)
      const other = { ...keys, privateKey: Buffer.alloc(32, 9).toString("base64") }
      yield* life(there, (store) => store.putKeys(other))
      yield* backup
      assert.include(yield* refusal(), `with the key ${publicKeyOf(other.privateKey)}, and this one has`)
      assert.deepStrictEqual(yield* names, [])
    })
  )
})
