/** A changed file, taken while the gateway runs: who is not concerned notices nothing, and who is, at once. */
import { assert, it } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import { readFileSync, writeFileSync } from "node:fs"
import { Lab } from "../../src/lab/demo/Lab.ts"
import { appName, connectWireguardGo, startWorld } from "../support/labWorld.ts"
import { inLab, inner } from "../support/lab.ts"

const docs = "docs.corp.internal"

it.live("a client is added, a name withdrawn and given back, a wrong file refused: open connections live", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    const world = yield* startWorld({
      resources: `  intranet: { name: ${appName}, resolver: corp, allow: [visitor] }
  docs: { name: ${docs}, resolver: corp, allow: [visitor] }
  lan: { cidr: ${inner.origin.v4}/32, allow: [visitor] }`
    })
    const { gateway, visitor } = world
    const { configPath: file } = gateway
    yield* world.nameServer.set({ name: docs, a: [inner.origin.v4], ttl: 60 })
    yield* connectWireguardGo(world, { allowedIps: [`${inner.origin.v4}/32`] })
    const [app, withdrawn] = [yield* world.proxyOf(), yield* world.proxyOf(docs)]
    yield* visitor.openDrip("name", app)
    yield* visitor.openDrip("network", inner.origin.v4)
    yield* visitor.openDrip("withdrawn", withdrawn)
    const sallyport = (...words: ReadonlyArray<string>) =>
      lab.attempt("gateway", [...lab.program("sallyport"), ...words], { timeout: "20 seconds" })
    const edit = (from: string, to: string) =>
      Effect.sync(() => writeFileSync(file, readFileSync(file, "utf8").replace(from, to)))
    const reload = sallyport("reload", "--config", file)
    const lines = (id: string) => Effect.map(visitor.readDrip(id), (drip) => drip.lines)
    /** More lines come, on the connection that was opened at the beginning. */
    const goesOn = Effect.fnUntraced(function* (id: string) {
      const before = yield* lines(id)
      yield* Effect.repeat(lines(id), {
        until: (now) => now > before,
        schedule: Schedule.spaced("100 millis"),
        times: 100
      })
      assert.isAbove(yield* lines(id), before, id)
    })
    const allow = `docs: { name: ${docs}, resolver: corp, allow: [visitor] }`

    const added = yield* sallyport("client", "add", "bob", "--config", file)
    for (const id of ["name", "network", "withdrawn"]) yield* goesOn(id)
    const clients = (yield* gateway.status).clients.map(({ name }) => name)

    yield* edit(allow, allow.replace("visitor", "bob"))
    const taken = yield* reload
    const refused = yield* visitor.connect({ address: withdrawn, timeout: 3000 })
    const cutAt = yield* lines("withdrawn")
    for (const id of ["name", "network"]) yield* goesOn(id)
    const afterCut = yield* lines("withdrawn")

    yield* edit("allow: [bob]", "allow: [visitor]")
    const given = yield* reload
    const again = yield* visitor.retry({ address: yield* world.proxyOf(docs), every: 100, deadline: 10_000 })
    const same = yield* world.proxyOf(docs)

    yield* edit("corp: [", "corp: [ nonsense, ")
    const wrong = yield* reload
    process.kill(gateway.process.pid, "SIGHUP")
    const told = yield* Effect.repeat(gateway.process.output, {
      until: (log) => log.includes("nothing was reloaded"),
      schedule: Schedule.spaced("100 millis"),
      times: 100
    })
    for (const id of ["name", "network"]) yield* goesOn(id)
    const removed = yield* Effect.andThen(
      edit("corp: [ nonsense, ", "corp: ["),
      sallyport("client", "remove", "bob", "--config", file)
    )

    const { stdout: log } = yield* sallyport("log", "--config", file)

    assert.strictEqual(added.code, 0, added.stderr)
    assert.deepStrictEqual(clients, ["visitor", "bob"])
    assert.match(taken.stdout, /^grants {3}1 added, 0 changed, 1 removed$/m, taken.stderr)
    assert.match(taken.stdout, /^sessions [1-9]\d* cut/m)
    assert.isFalse(refused.ok)
    assert.isAtMost(afterCut - cutAt, 1, "what is withdrawn is carried no more")
    assert.strictEqual(given.code, 0, given.stderr)
    assert.isNotNull(again)
    assert.strictEqual(same, withdrawn, "the name has its proxy IP again")
    assert.strictEqual(wrong.code, 1)
    assert.match(wrong.stderr, /\.yaml:\d+:\d+: .*nonsense/)
    assert.include(told, "nothing was reloaded")
    assert.strictEqual(removed.code, 0, removed.stderr)
    assert.match(log, /reloaded: policy 3: clients \+0 ~0 -0, resources \+0 ~0 -0, grants \+1 ~0 -1$/m)
    assert.deepStrictEqual(
      (yield* gateway.status).clients.map(({ name }) => name),
      ["visitor"]
    )
  }).pipe(inLab)
)
