/** Which proxies names keep, through time, restarts and a full disk. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { TestClock } from "effect/testing"
import * as DataPlaneRecording from "../../../layers/memory/DataPlaneRecording.ts"
import { DataPlaneRecorder } from "../../../layers/memory/DataPlaneRecording.ts"
import { answer } from "../../../layers/memory/ResolverMemory.ts"
import { StateStore } from "../../../src/host/StateStore.ts"
import { TunnelNames } from "../../../src/control/standalone/TunnelNames.ts"
import { ClientId } from "../../../src/model/Client.ts"
import { Resolutions } from "../../../src/resolution/Resolutions.ts"
import { SetProbe } from "../../../src/resolution/SetProbe.ts"
import { dnsResource, lookups } from "../../support/access.ts"
import { clientId } from "../../support/engineWorld.ts"
import { ask, askPatiently, configOf, Disk, layerNames, withLogLines } from "../../support/standalone.ts"
import { corp, config, layerStore, layerFound, layerOn, layer, script, addresses } from "../../support/tunnelNames.ts"

/** Asks for many names, slowly enough for the rate limit; their first addresses. */
const askMany = Effect.fnUntraced(function* (from: number, count: number) {
  const all: Array<string> = []
  for (let n = from; n < from + count; n++) {
    if (n % 100 === 0) yield* TestClock.adjust("1 second")
    all.push(addresses(yield* ask(`n${n}.corp`))[0]!)
  }
  return all
})

describe("the 4,097th name of a client", () => {
  it.effect(
    "releases the one that was asked for least recently, whose proxies nobody gets",
    () =>
      Effect.gen(function* () {
        yield* script("*", answer(["10.0.0.1"]))
        const first = yield* askMany(0, 4_096)
        yield* ask("n0.corp")
        const [next] = yield* askMany(5_000, 1)
        const domains = (yield* (yield* StateStore).mappings).map((mapping) => mapping.domain)
        assert.strictEqual(domains.length, 4_096)
        assert.notInclude(domains, "n1.corp")
        assert.include(domains, "n0.corp")
        assert.strictEqual((yield* (yield* Resolutions).list).length, 4_096)
        assert.notInclude(first, next)
        assert.notInclude([...first, next], (yield* askMany(1, 1))[0])
      }).pipe(Effect.provide(layer)),
    30_000
  )
})

describe("names in use", () => {
  it.effect(
    "make no room, though nobody asks for them",
    () =>
      Effect.gen(function* () {
        yield* script("*", answer(["10.0.0.1"]))
        const names = yield* TunnelNames
        yield* askMany(0, 4_096)
        const used = (yield* (yield* Resolutions).list).slice(0, 2).map(({ mapping }) => mapping.id)
        yield* names.inUse(ClientId.make(clientId(1)), used)
        yield* askMany(5_000, 3)
        const left = (yield* (yield* Resolutions).list).map(({ mapping }) => mapping.id)
        assert.includeMembers(left, used)
        const domains = (yield* (yield* StateStore).mappings).map((mapping) => mapping.domain)
        assert.notIncludeMembers(domains, ["n2.corp", "n3.corp", "n4.corp"])
        assert.lengthOf(domains, 4_096)
      }).pipe(Effect.provide(layer)),
    30_000
  )

  it.effect("have their use written down after an hour, some at a time; strangers change nothing", () =>
    Effect.gen(function* () {
      const names = yield* TunnelNames
      const disk = yield* Disk
      yield* askMany(0, 40)
      const used = (yield* (yield* Resolutions).list).map(({ mapping }) => mapping.id)
      const before = disk.writes
      const tell = names.inUse(ClientId.make(clientId(1)), used)
      yield* tell
      assert.strictEqual(disk.writes, before)
      yield* TestClock.adjust("1 hour")
      yield* names.inUse(ClientId.make(clientId(2)), used)
      yield* names.inUse(ClientId.make("gone"), used)
      assert.strictEqual(disk.writes, before)
      yield* tell
      assert.strictEqual(disk.writes, before + 32)
      yield* tell
      assert.strictEqual(disk.writes, before + 40)
      assert.isTrue((yield* (yield* StateStore).mappings).every((mapping) => mapping.lastUsedAt >= 3_600_000))
    }).pipe(Effect.provide(layer))
  )
})

describe("the start", () => {
  it.effect(
    "asks each resolver set of a name something harmless, so that it is known which ones are slow or dead",
    () => {
      const asked: Array<string> = []
      const probe = Layer.succeed(SetProbe, (set) => {
        asked.push(set)
        return set === "late" ? Effect.never : Effect.succeed(set === "corp")
      })
      const late = dnsResource("*.late", { resolver: "late" })
      const resources = [corp, dnsResource("*.lab"), dnsResource("git.corp", { resolver: "corp" }), late]
      return Effect.gen(function* () {
        yield* (yield* TunnelNames).restore
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(asked, ["corp", "system", "late"])
        yield* script("*", { _tag: "Hang" })
        assert.strictEqual((yield* askPatiently("a.corp")).afterMs, 140)
        assert.strictEqual((yield* askPatiently("a.lab")).afterMs, 0, "nobody waits for a set that is silent")
        assert.strictEqual((yield* askPatiently("a.late")).afterMs, 0, "nor for one that has not answered that yet")
      }).pipe(Effect.provide(Layer.provide(layerOn(configOf(resources)), probe)))
    }
  )
})

describe("a restart", () => {
  const session = <A, E>(
    run: Effect.Effect<A, E, Layer.Success<ReturnType<typeof layerNames>> | DataPlaneRecorder | StateStore | Disk>
  ) =>
    run.pipe(
      Effect.provide(
        layerFound.pipe(Layer.provideMerge(layerNames(config)), Layer.provideMerge(DataPlaneRecording.layer)),
        { local: true }
      )
    )

  it.effect("reserves every client's first proxies, so that a first question costs one plain write", () =>
    Effect.gen(function* () {
      yield* (yield* TunnelNames).restore
      const disk = yield* Disk
      const before = disk.writes
      yield* ask("git.corp")
      assert.strictEqual(disk.writes, before + 1)
    }).pipe(Effect.provide(layer))
  )

  it.effect("gives every name the same proxies, and looks nothing up until there is traffic", () =>
    Effect.gen(function* () {
      const before = yield* session(askMany(0, 150))
      const after = yield* session(
        Effect.gen(function* () {
          yield* (yield* TunnelNames).restore
          yield* TestClock.adjust("10 minutes")
          assert.strictEqual(yield* lookups, 0)
          const mappings = yield* (yield* Resolutions).list
          assert.strictEqual(mappings.length, 150)
          assert.isTrue(mappings.every(({ state }) => state._tag === "Unresolved"))
          // A right is told once, however many names there are by it.
          const told = (yield* (yield* DataPlaneRecorder).commands).filter(({ _tag }) => _tag === "SetResource")
          assert.lengthOf(told, 1)
          yield* (yield* Resolutions).refresh(mappings[0]!.mapping.id, "Unmapped")
          yield* TestClock.adjust("1 second")
          assert.strictEqual(yield* lookups, 1)
          return yield* askMany(0, 151)
        })
      )
      assert.deepStrictEqual(after.slice(0, 150), before)
      assert.notInclude(before, after[150])
    }).pipe(Effect.provide(layerStore))
  )

  it.effect(
    "keeps the order of use: the least recently used name makes room first",
    () =>
      Effect.gen(function* () {
        const store = yield* StateStore
        for (let n = 1; n <= 4_096; n++) {
          yield* store.putMapping({
            client: clientId(1),
            resource: corp.id,
            domain: `n${n}.corp`,
            slot: n,
            lastUsedAt: 10_000 - n
          })
        }
        yield* store.reserveSlots(clientId(1), 5_000)
        yield* session(
          Effect.gen(function* () {
            yield* (yield* TunnelNames).restore
            yield* ask("new.corp")
          })
        )
        const domains = (yield* store.mappings).map((mapping) => mapping.domain)
        assert.notInclude(domains, "n4096.corp")
        assert.include(domains, "n1.corp")
      }).pipe(Effect.provide(layerStore)),
    30_000
  )

  it.effect(
    "keeps a name's proxies whichever resources cover it by now, and of two stored slots the one used last",
    () =>
      Effect.gen(function* () {
        const store = yield* StateStore
        const row = { client: clientId(1), domain: "a.corp" }
        yield* store.putMapping({ ...row, resource: "gone", slot: 3, lastUsedAt: 5 })
        yield* store.putMapping({ ...row, resource: corp.id, slot: 1, lastUsedAt: 4 })
        yield* session(
          Effect.gen(function* () {
            yield* (yield* TunnelNames).restore
            const [restored] = yield* (yield* Resolutions).list
            assert.deepStrictEqual(restored?.mapping.resources, [corp.id])
            assert.strictEqual(restored?.mapping.proxyIps[0], "100.96.0.12")
            assert.strictEqual(addresses(yield* ask("a.corp"))[0], "100.96.0.12")
          })
        )
        assert.deepStrictEqual(
          (yield* store.mappings).map(({ slot }) => slot),
          [3]
        )
      }).pipe(Effect.provide(layerStore))
  )

  it.effect("brings back nothing that its client may no longer reach, and gives its proxies to nobody", () =>
    Effect.gen(function* () {
      const store = yield* StateStore
      yield* store.putMapping({ client: clientId(2), resource: corp.id, domain: "a.corp", slot: 3, lastUsedAt: 0 })
      yield* store.putMapping({ client: "gone", resource: corp.id, domain: "a.corp", slot: 1, lastUsedAt: 0 })
      yield* store.putMapping({ client: clientId(1), resource: corp.id, domain: "a.lab", slot: 1, lastUsedAt: 0 })
      yield* session(
        Effect.gen(function* () {
          yield* (yield* TunnelNames).restore
          assert.deepStrictEqual(yield* (yield* Resolutions).list, [])
          assert.strictEqual(addresses(yield* ask("b.corp"))[0], "100.96.0.8")
        })
      )
    }).pipe(Effect.provide(layerStore))
  )
})

describe("a state store that fails", () => {
  it.effect("costs nobody an answer, is loud, and never leads to a proxy IP for two names", () =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        const disk = yield* Disk
        const before = yield* askMany(0, 70)
        disk.full = true
        const during = yield* askMany(100, 200)
        assert.deepStrictEqual(yield* askMany(0, 70), before)
        assert.isTrue(lines.some((line) => line.includes("level=ERROR") && line.includes("memory only")))
        disk.full = false
        const after = yield* askMany(400, 100)
        disk.full = true
        const again = yield* askMany(500, 100)
        const all = [...before, ...during, ...after, ...again]
        assert.strictEqual(new Set(all).size, all.length)
      })
    ).pipe(Effect.provide(layer))
  )

  it.effect("writes a name down as soon as it works again", () =>
    Effect.gen(function* () {
      const disk = yield* Disk
      disk.full = true
      const [proxy] = addresses(yield* ask("git.corp"))
      disk.full = false
      assert.strictEqual(addresses(yield* ask("git.corp"))[0], proxy)
      assert.deepStrictEqual(
        (yield* (yield* StateStore).mappings).map((mapping) => mapping.domain),
        ["git.corp"]
      )
    }).pipe(Effect.provide(layer))
  )
})

describe("small proxy ranges", () => {
  const small = { ...config, network: { ...config.network, proxy4: "10.9.0.0/24" } }

  it.effect("serve as many names as there are slots; then one line names the fix, and old names go on", () =>
    withLogLines((lines) =>
      Effect.gen(function* () {
        const all = yield* askMany(0, 63)
        assert.strictEqual(new Set(all).size, 63)
        assert.deepStrictEqual(yield* ask("more.corp"), { _tag: "ServerFailure" })
        for (let n = 0; n < 20; n++) yield* ask(`more${n}.corp`)
        assert.strictEqual(lines.filter((line) => line.includes("larger proxy ranges")).length, 1)
        assert.deepStrictEqual(yield* askMany(0, 63), all)
      })
    ).pipe(Effect.provide(layerOn(small)))
  )

  it.effect("give a released name's proxies to another one when all others are used up, after 24 hours", () =>
    Effect.gen(function* () {
      const store = yield* StateStore
      const released = { client: clientId(1), resource: corp.id, domain: "old.corp", slot: 5, lastUsedAt: 0 }
      yield* store.putMapping(released)
      yield* store.removeMapping(released, 1_000)
      assert.strictEqual(addresses(yield* ask("fresh.corp"))[0], "10.9.0.4")
      yield* store.reserveSlots(clientId(1), 64)
      yield* TestClock.adjust(86_400_999)
      assert.deepStrictEqual(yield* ask("next.corp"), { _tag: "ServerFailure" })
      yield* TestClock.adjust(1)
      assert.strictEqual(addresses(yield* ask("next.corp"))[0], "10.9.0.20")
      assert.deepStrictEqual(yield* ask("last.corp"), { _tag: "ServerFailure" })
      assert.strictEqual(addresses(yield* ask("next.corp"))[0], "10.9.0.20")
    }).pipe(Effect.provide(layerOn(small)))
  )
})
