import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Exit, FileSystem, Layer, Schema } from "effect"
import { Command } from "effect/cli"
import { TestClock, TestConsole } from "effect/testing"
import { SiteMemory } from "../../layers/memory/SharedStoreMemory.ts"
import { apply } from "../../src/cli/apply.ts"
import { layerUsageErrors } from "../../src/cli/usageError.ts"
import { type PolicyStore, PolicyStores } from "../../src/shared/PolicyStore.ts"
import { key } from "../config/fixtures.ts"

const file = (more = "", allow = "alice") => `endpoint: vpn.example.com:51820
state: postgres://db.corp.internal/sallyport
clients: { alice: { public_key: "${key(1)}" }, bob: { public_key: "${key(2)}" } }
resources: { lab: { cidr: 10.20.0.0/16, ports: [tcp/22], allow: [${allow}] } }
${more}`

/** Applies a file to the site; what is said, and how it ends. */
const run = Effect.fnUntraced(function* (store: PolicyStore, text: string, ...flags: ReadonlyArray<string>) {
  const fs = yield* FileSystem.FileSystem
  const path = `${yield* fs.makeTempDirectoryScoped()}/policy.yaml`
  yield* fs.writeFileString(path, text)
  const said = (yield* TestConsole.logLines).length
  const opened: Array<string> = []
  const stores = Layer.succeed(PolicyStores, {
    open: ({ hosts }) => Effect.sync(() => void opened.push(hosts[0]!.host)).pipe(Effect.as(store)),
    author: Effect.succeed("alice@gw1")
  })
  const running = yield* Command.runWith(apply, { version: "9.9.9" })([path, ...flags]).pipe(
    Effect.provide([stores, layerUsageErrors, ConfigProvider.layer(ConfigProvider.fromUnknown({}))]),
    Effect.exit,
    Effect.forkChild({ startImmediately: true })
  )
  while (running.pollUnsafe() === undefined) {
    yield* TestClock.adjust("100 millis")
    yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 1)))
  }
  const exit = running.pollUnsafe()!
  const result = Exit.isSuccess(exit) ? exit.value : exit
  const text2 = (yield* TestConsole.logLines).slice(said).join("\n")
  const error = Exit.isFailure(result) ? (yield* Effect.flip(result)).message : null
  return { text: text2.replaceAll(path, "policy.yaml"), error: error?.replaceAll(path, "policy.yaml") ?? null, opened }
})

const withServices = <A, E>(work: Effect.Effect<A, E, NodeServices.NodeServices>) =>
  work.pipe(Effect.provide(NodeServices.layer))

const versionOf = (site: SiteMemory) =>
  Effect.map(site.policyStore.newest, ({ policy }) => (policy === null ? null : policy.version))

describe("sallyport apply", () => {
  it.effect("writes a policy, and says what it changes and that no gateway lives", () =>
    Effect.gen(function* () {
      const site = new SiteMemory()
      yield* run(site.policyStore, file())

      const { error, opened, text } = yield* run(site.policyStore, file("", "bob"))

      assert.strictEqual(
        text,
        [
          "grants   1 added, 0 changed, 1 removed",
          "         alice: lab tcp/22 removed",
          "         bob: lab tcp/22 added",
          "policy 2 is written; no gateway lives, and each takes it when it comes"
        ].join("\n")
      )
      assert.deepStrictEqual([error, opened], [null, ["db.corp.internal"]])
      assert.strictEqual((yield* site.policyStore.newest).policy?.text, file("", "bob"))
    }).pipe(Effect.scoped, withServices)
  )

  it.effect("writes nothing where it is only tried, where nothing changes, and where the file is wrong", () =>
    Effect.gen(function* () {
      const site = new SiteMemory()
      const tried = yield* run(site.policyStore, file(), "--dry-run")
      const before = yield* versionOf(site)
      yield* run(site.policyStore, file())
      const same = yield* run(site.policyStore, `# Ours\n${file("log_level: debug")}`)
      const wrong = yield* run(site.policyStore, file("", "carol"))
      const test = 'tests: [{ client: bob, reach: "10.20.0.1:22", expect: allowed }]'
      const unheld = yield* run(site.policyStore, file(test))

      assert.match(tried.text, /added {4}clients alice, bob\n[^]*the site has no policy yet; nothing is written$/)
      assert.isNull(before)
      assert.strictEqual(same.text, "policy 1 of the site says the same; nothing is written")
      assert.match(wrong.error ?? "", /^policy\.yaml:4:.*carol/)
      assert.match(unheld.error ?? "", /^policy\.yaml:5:.* the test expects allowed, but /)
      assert.strictEqual(yield* versionOf(site), 1)
    }).pipe(Effect.scoped, withServices)
  )

  it.effect("tells who lives and does not go by it after two seconds", () =>
    Effect.gen(function* () {
      const site = new SiteMemory()
      let asked = 0
      const token = Effect.map(site.policyStore.newest, ({ policy }) => policy!)
      const holders = Effect.map(token, (inForce) => {
        asked++
        return [
          { gateway: 0, inForce },
          { gateway: 1, inForce: null }
        ]
      })

      const { error, text } = yield* run({ ...site.policyStore, holders }, file(), "--json")

      assert.match(error ?? "", /^gateway 1 does not go by policy 1 after 2\d{3} ms — sallyport status there says why$/)
      assert.isAbove(asked, 10)
      // Nor does who applies the same again take it for done.
      const again = yield* run({ ...site.policyStore, holders }, file())
      assert.strictEqual(again.text, "policy 1 of the site says the same; nothing is written")
      assert.match(again.error ?? "", /^gateway 1 does not go by policy 1 after /)
      const { gateways, version, written } = yield* Schema.decodeEffect(
        Schema.fromJsonString(Schema.Struct({ gateways: Schema.Unknown, version: Schema.Int, written: Schema.Boolean }))
      )(text)
      assert.deepStrictEqual(
        [version, written, gateways],
        [
          1,
          true,
          [
            { gateway: 0, has: true },
            { gateway: 1, has: false }
          ]
        ]
      )
    }).pipe(Effect.scoped, withServices)
  )

  it.effect("writes nothing over a policy that has come in between, and says whose it is", () =>
    Effect.gen(function* () {
      const site = new SiteMemory()
      const overtaken: PolicyStore = {
        ...site.policyStore,
        apply: (policy) =>
          Effect.andThen(
            site.policyStore.apply({ text: file("", "bob"), by: "bob@gw2", compared: null }),
            site.policyStore.apply(policy)
          )
      }

      const { error } = yield* run(overtaken, file())

      assert.match(error ?? "", /^nothing is written: policy 1 of bob@gw2 has come in between/)
      assert.strictEqual(yield* versionOf(site), 1)
    }).pipe(Effect.scoped, withServices)
  )

  it.effect("says the same again where a gateway goes by a version that the store has lost", () =>
    Effect.gen(function* () {
      const site = new SiteMemory()
      yield* run(site.policyStore, file())
      site.hold(0, { version: 7, token: "lost" })

      yield* run(site.policyStore, file())

      assert.strictEqual(yield* versionOf(site), 8)
    }).pipe(Effect.scoped, withServices)
  )

  it.effect("asks for the address of a site that the file does not name", () =>
    Effect.gen(function* () {
      const site = new SiteMemory()
      const alone = file().replace(/^state.*\n/m, "")
      const { error } = yield* run(site.policyStore, alone)
      const named = yield* run(site.policyStore, alone, "--state", "postgres://other.corp.internal/sallyport")
      const wrong = yield* run(site.policyStore, alone, "--state", "nowhere")

      assert.strictEqual(error, "policy.yaml names no site — add state: to it, or --state")
      assert.deepStrictEqual(named.opened, ["other.corp.internal"])
      assert.match(wrong.error ?? "", /^--state: this is not the address of a PostgreSQL/)
    }).pipe(Effect.scoped, withServices)
  )

  it.effect("tells what changes at every site, whichever one the file is of", () =>
    Effect.gen(function* () {
      const site = new SiteMemory()
      const sites = (own: string, more = "") => `state: postgres://db.corp.internal/sallyport
endpoint: ${own}.example.com:51820
site: ${own}
sites:
  berlin: { number: 0, endpoint: "berlin.example.com:51820", public_key: "${key(8)}" }
  tokyo: { number: 1, endpoint: "tokyo.example.com:51820", public_key: "${key(9)}" }
clients: { alice: { public_key: "${key(1)}" } }
resources:
  lab: { cidr: 10.20.0.0/16, ports: [tcp/22], allow: [alice] }
${more}`
      const build = (ports: string, at = "tokyo") =>
        `  build: { name: "*.tokyo.internal", site: ${at}, ports: [${ports}], allow: [alice] }`
      const applied = (text: string) => Effect.map(run(site.policyStore, text), ({ text }) => text.split("\n"))

      yield* applied(sites("berlin"))
      assert.deepStrictEqual((yield* applied(sites("berlin", build("tcp/443")))).slice(0, -1), [
        "added    resource build",
        "grants   1 added, 0 changed, 0 removed",
        "         alice: build tcp/443 added"
      ])
      assert.match((yield* applied(sites("tokyo", build("tcp/80")))).join(), / alice: build .*tcp\/80.*tcp\/443/)
      assert.deepStrictEqual(yield* applied(sites("berlin", build("tcp/80"))), [
        "policy 3 of the site says the same; nothing is written"
      ])
      assert.include(yield* applied(sites("berlin", build("tcp/80", "berlin"))), "changed  resource build")
      assert.include(yield* applied(sites("tokyo")), "removed  resource build")
      assert.strictEqual(yield* versionOf(site), 5)
    }).pipe(Effect.scoped, withServices)
  )
})
