/** A gateway follows the policy of its site, which never falls back to an earlier one. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Layer, Result, Schema, Scope } from "effect"
import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as RegistryLive from "../../../layers/control/standalone/Registry.ts"
import * as Memory from "../../../layers/memory/SharedStoreMemory.ts"
import { followPolicy } from "../../../layers/shared/followPolicy.ts"
import { readKept } from "../../../layers/shared/keptPolicy.ts"
import { parseConfig } from "../../../src/config/parseConfig.ts"
import { Registry } from "../../../src/control/Registry.ts"
import { SharedStore } from "../../../src/shared/SharedStore.ts"
import type { SiteMember } from "../../../src/shared/Site.ts"
import { key } from "../../config/fixtures.ts"
import { until } from "../../support/sharedStore.ts"

/** With a client of this name and this address. */
const policy = (client: string, address = "100.64.0.7") => `endpoint: elsewhere.example.com:51820
clients: { ${client}: { public_key: "${key(1)}", tunnel_ipv4: ${address} } }
log_level: debug
`

const read = (text: string) => Result.getOrThrow(parseConfig(text.replace("elsewhere", "here"), "own.yaml"))
const own = read(policy("own"))

/** The first of them is its own. */
const withSites = (...names: ReadonlyArray<string>) => {
  const sites = names.map(
    (name, i) =>
      `  ${name}: { number: ${i}, endpoint: "${i === 0 ? "here" : name}.example.com:51820", public_key: "${key(i + 10)}" }\n`
  )
  return read(`${policy("own")}state: postgres://sallyport@10.0.0.9/site
site: ${names[0]}
sites:
${sites.join("")}`)
}

const aDirectory = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(join(tmpdir(), "sallyport-policy-"))),
  (path) => Effect.sync(() => fs.rmSync(path, { recursive: true, force: true }))
)

/** One life of a gateway, with all versions that it has gone by. */
const live = Effect.fnUntraced(function* (
  site: Memory.SiteMemory,
  directory: string,
  over: (store: SharedStore["Service"]) => Partial<SharedStore["Service"]> = () => ({}),
  file = { now: own }
) {
  const scope = yield* Scope.fork(yield* Effect.scope)
  const built = Effect.gen(function* () {
    const store = Context.get(yield* Layer.build(Layer.fresh(Memory.layer(site))), SharedStore)
    const kept = yield* readKept(directory)
    const registry = Context.get(
      yield* Layer.build(
        Layer.fresh(RegistryLive.layer({ config: file.now, policy: kept, read: Effect.sync(() => file.now) }))
      ),
      Registry
    )
    const versions: Array<number> = []
    yield* registry.follow(({ after }) =>
      Effect.sync(() => {
        versions.push(after.site?.version ?? 0)
        return { sessions: { cut: 0, untouched: 0 }, warnings: [] }
      })
    )
    const shared = { standing: Effect.succeed({ gateway: 0 }) } as unknown as SiteMember["shared"]
    const standing = yield* Effect.provideService(
      followPolicy({ ...store, ...over(store), shared }, directory),
      Registry,
      registry
    )
    const clients = () => registry.current().config.clients.map(({ id }): string => id)
    return { registry, standing, versions, clients, end: Scope.close(scope, Exit.void) }
  })
  return yield* Scope.provide(built, scope)
})

const aSite = Effect.gen(function* () {
  const site = new Memory.SiteMemory()
  const directory = yield* aDirectory
  const apply = Effect.fnUntraced(function* (text: string) {
    const { policy } = yield* site.policyStore.newest
    return (yield* site.policyStore.apply({ text, by: "alice@gw1", compared: policy?.token ?? null }))!
  })
  return { site, directory, apply }
})

const becomes = (isSo: () => boolean) => until(Effect.sync(isSo))

describe("a gateway of a site", () => {
  it.live("goes by its own file until a policy is applied, and by that policy alone from then on", () =>
    Effect.gen(function* () {
      const { apply, directory, site } = yield* aSite
      const gateway = yield* live(site, directory)
      const before = [gateway.clients(), gateway.standing().inForce]

      yield* apply(policy("alice"))

      yield* becomes(() => gateway.standing().inForce !== null)
      assert.deepStrictEqual(before, [["own"], null])
      assert.deepStrictEqual(gateway.clients(), ["alice"])
      assert.deepStrictEqual([gateway.standing().inForce?.version, gateway.standing().inForce?.by], [1, "alice@gw1"])
      const { endpoint, logLevel } = gateway.registry.current().config
      assert.deepStrictEqual([endpoint.host, logLevel], ["here.example.com", own.logLevel])
    })
  )

  it.live("keeps what it goes by where a policy contradicts its network, and says so until another one comes", () =>
    Effect.gen(function* () {
      const { apply, directory, site } = yield* aSite
      const gateway = yield* live(site, directory)
      yield* apply(policy("alice"))
      yield* becomes(() => gateway.standing().inForce?.version === 1)

      yield* apply(policy("bob", "192.0.2.7"))

      yield* becomes(() => gateway.standing().refused !== null)
      const { why } = gateway.standing().refused!
      assert.match(why, /^policy 2 of the site:2:.*192\.0\.2\.7.*; policy 1 goes on$/)
      assert.deepStrictEqual(gateway.clients(), ["alice"])
      yield* apply(policy("carol"))
      yield* becomes(() => gateway.standing().inForce?.version === 3)
      assert.deepStrictEqual([gateway.clients(), gateway.standing().refused], [["carol"], null])
    })
  )

  it.live("judges what it has refused anew once its own file is another one", () =>
    Effect.gen(function* () {
      const { apply, directory, site } = yield* aSite
      const file = { now: withSites("berlin", "tokyo") }
      const gateway = yield* live(site, directory, undefined, file)
      yield* apply(`${policy("alice")}resources: { wiki: { name: wiki.example.com, site: paris, allow: [alice] } }\n`)
      yield* becomes(() => gateway.standing().refused !== null)

      file.now = withSites("berlin", "tokyo", "paris")
      yield* gateway.registry.reload
      yield* site.leave
      yield* site.comeBack

      yield* becomes(() => gateway.standing().inForce?.version === 1)
      assert.deepStrictEqual([gateway.clients(), gateway.standing().refused], [["alice"], null])
    })
  )

  it.live("starts with the policy that it went by last, while the store is away", () =>
    Effect.gen(function* () {
      const { apply, directory, site } = yield* aSite
      const before = yield* live(site, directory)
      const { token } = yield* apply(policy("alice"))
      yield* until(Effect.map(readKept(directory), (kept) => kept?.token === token))
      yield* before.end
      yield* site.leave

      const gateway = yield* live(site, directory)

      assert.deepStrictEqual([gateway.clients(), gateway.standing().inForce?.version], [["alice"], 1])
      assert.strictEqual(fs.statSync(join(directory, "site-policy.yaml")).mode & 0o777, 0o600)
    })
  )

  it.live("goes by a policy that its disk does not take", () =>
    Effect.gen(function* () {
      const { apply, directory, site } = yield* aSite
      const gateway = yield* live(site, join(directory, "gone"))

      yield* apply(policy("alice"))

      yield* becomes(() => gateway.clients()[0] === "alice")
    })
  )

  it.live("takes a policy after a bug that it met as it looked for one", () =>
    Effect.gen(function* () {
      const { apply, directory, site } = yield* aSite
      let looked = 0
      const gateway = yield* live(site, directory, ({ lookAtPolicy }) => ({
        lookAtPolicy: (look) => (looked++ === 0 ? Effect.die(new Error("a bug")) : lookAtPolicy(look))
      }))

      yield* becomes(() => looked > 0)
      yield* apply(policy("alice"))

      yield* becomes(() => gateway.clients()[0] === "alice")
    })
  )

  it.live("does not start with one that is torn", () =>
    Effect.gen(function* () {
      const { apply, directory, site } = yield* aSite
      const before = yield* live(site, directory)
      const { token } = yield* apply(policy("alice"))
      yield* until(Effect.map(readKept(directory), (kept) => kept?.token === token))
      yield* before.end
      const path = join(directory, "site-policy.yaml")
      fs.truncateSync(path, fs.statSync(path).size - 1)

      assert.isNull(yield* readKept(directory))
    })
  )

  const Step = Schema.Literals(["apply", "leave", "comeBack", "backup", "restore", "restart"])
  it.effect.prop(
    "never goes back to an earlier version, whatever becomes of the store and of itself",
    [Schema.Array(Step).check(Schema.isMinLength(10), Schema.isMaxLength(14))],
    ([steps]) =>
      Effect.gen(function* () {
        const { apply, directory, site } = yield* aSite
        let restore = site.backup()
        let isThere = true
        let gateway = yield* live(site, directory)
        const lives = [gateway]
        let wanted: { readonly version: number; readonly token: string } | null = null
        for (const step of steps) {
          if (step === "apply" && isThere) yield* apply(policy("alice"))
          else if (step === "leave") {
            isThere = false
            yield* site.leave
          } else if (step === "comeBack") {
            isThere = true
            yield* site.comeBack
          } else if (step === "backup") restore = site.backup()
          else if (step === "restore") restore()
          else if (step === "restart") {
            yield* until(Effect.map(readKept(directory), (kept) => (kept?.token ?? null) === (wanted?.token ?? null)))
            yield* gateway.end
            gateway = yield* live(site, directory)
            lives.push(gateway)
          }
          if (!isThere) continue
          const { policy: offered } = yield* site.policyStore.newest
          const isNewer: boolean = offered !== null && offered.version > (wanted?.version ?? 0)
          if (isNewer) wanted = offered
          const isRefused = (offered?.token ?? null) !== (wanted?.token ?? null)
          yield* becomes(() => {
            const { inForce, refused } = gateway.standing()
            return (inForce?.version ?? 0) === (wanted?.version ?? 0) && (refused !== null) === isRefused
          })
        }
        const versions = lives.flatMap((each) => each.versions)
        assert.deepStrictEqual(
          versions,
          versions.toSorted((a, b) => a - b)
        )
      }).pipe(Effect.scoped),
    { arbitrary: { runs: 40, seed: 7 } }
  )
})
