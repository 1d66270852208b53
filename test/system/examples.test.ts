/** The examples, as their reader runs them: by Node, against the built package, with a client's packets. */
import { assert, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { fileURLToPath } from "node:url"
import { Lab } from "../../src/lab/demo/Lab.ts"
import { tunnelAddresses } from "../../src/lab/demo/tunnel.ts"
import { inLab, inner } from "../support/lab.ts"
import { appName, connectWireguardGo, startWorld } from "../support/labWorld.ts"
import { traces } from "../support/operator.ts"
import { startListeners } from "../support/tracing.ts"

/** Called with `up --config FILE`, an example wants the file. */
const example = (name: string): ReadonlyArray<string> => {
  const file = fileURLToPath(new URL(`../../examples/${name}.ts`, import.meta.url))
  return ["sh", "-c", 'exec "$1" "$2" "$5"', "sh", process.execPath, file]
}

it.live(
  "a client of ownResolver.ts reaches the table's address; the company's name server, which knows another, is not asked",
  () =>
    Effect.gen(function* () {
      const { nameServer, proxyOf, visitor, ...world } = yield* startWorld({
        program: example("ownResolver"),
        resources: `  company: { name: "*.corp.internal", resolver: corp, allow: [visitor] }
  other: { name: other.corp.internal, resolver: corp, allow: [visitor] }`
      })
      yield* connectWireguardGo({ nameServer, proxyOf, visitor, ...world })

      const page = yield* visitor.get({ address: yield* proxyOf(appName) })
      const missing = yield* visitor.resolve({
        server: tunnelAddresses.gateway.v4,
        name: "no.corp.internal",
        type: "A"
      })
      // An exact name has its proxy IP before anybody looked.
      const unknown = yield* visitor.connect({ address: yield* proxyOf("other.corp.internal") })

      assert.strictEqual(page.servedBy, inner.otherOrigin.v4)
      assert.deepInclude(missing, { answered: true, rcode: 3 })
      assert.isFalse(unknown.ok)
      assert.deepStrictEqual(yield* nameServer.queries, {})
      const { mappings } = yield* world.gateway.status
      assert.sameDeepMembers(
        mappings.map(({ domain, reason, state }) => ({ domain, state, reason })),
        [
          { domain: appName, state: "Resolved", reason: null },
          { domain: "other.corp.internal", state: "Unresolved", reason: "the name does not exist" }
        ]
      )
    }).pipe(inLab),
  { timeout: 90_000 }
)

const Names = Schema.fromJsonString(
  Schema.Array(
    Schema.Struct({ client: Schema.String, name: Schema.String, state: Schema.Record(Schema.String, Schema.Unknown) })
  )
)

it.live(
  "embeddedGateway.ts serves a client and shows its names, sends spans, and goes on when it has ended its gateway",
  () =>
    Effect.gen(function* () {
      const lab = yield* Lab
      const before = yield* traces
      const listeners = yield* startListeners
      const world = yield* startWorld({ program: example("embeddedGateway") })
      yield* connectWireguardGo(world)
      const ask = (...request: ReadonlyArray<string>) =>
        lab.exec("gateway", ["curl", "--silent", "--show-error", "--max-time", "5", ...request])

      const page = yield* world.visitor.get({ address: yield* world.proxyOf() })
      const names = yield* Schema.decodeEffect(Names)(yield* ask("http://127.0.0.1:8081/names"))
      yield* ask("--request", "POST", "http://127.0.0.1:8081/close")
      const code = yield* world.gateway.process.exit

      assert.strictEqual(page.servedBy, inner.origin.v4)
      assert.deepStrictEqual(
        names.map(({ client, name, state }) => ({ client, name, state: state["_tag"], addresses: state["addresses"] })),
        [{ client: "visitor", name: appName, state: "Resolved", addresses: [inner.origin.v4, inner.origin.v6] }]
      )
      for (const name of ["ConnectionAcceptor.accept", "Resolutions.lookup"]) {
        yield* listeners.first((line) => ("span" in line && line.span === name ? line : undefined))
      }
      assert.strictEqual(code, 0)
      assert.match(yield* world.gateway.process.output, /the gateway is gone, the program goes on/)
      assert.deepStrictEqual(yield* traces, before)
    }).pipe(inLab),
  { timeout: 90_000 }
)
